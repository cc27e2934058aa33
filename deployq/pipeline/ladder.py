"""The quants that a target could take, better and better; and a plan that takes another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deployq.pipeline.prepare import Prepared
from deployq.pipeline.session import Session
from deployq.pipeline.stores import place_of
from deployq.plan.catalogue import CATALOGUE, best_first
from deployq.plan.planner import make_plan
from deployq.proof.judging import without_undercut
from deployq.types import Candidate, TargetPlan
from deployq.units import format_bytes


def widened(
    session: Session, prepared: Prepared, plan: TargetPlan, quants: Sequence[str] = ()
) -> TargetPlan:
    """The plan of a target with these quants weighed, too; none named: every common one."""
    wide = make_plan(
        prepared.model.name,
        prepared.info,
        [replace(plan.target, quants=tuple(quants))],
        prepared.size_of,
        artifacts=place_of(session.cache_dir),
        imatrix=prepared.model.settings.imatrix is not None,
    ).targets[0]
    named = {candidate.quant for candidate in plan.candidates}
    more = tuple(c for c in wide.candidates if c.quant not in named)
    return replace(plan, candidates=(*plan.candidates, *more))


def fitting(candidates: Sequence[Candidate]) -> dict[str, int]:
    """The quants that fit, best predicted first, and their bytes."""
    sizes = {one.quant: one.size.file_bytes for one in candidates if one.verdict != "no"}
    return {quant: sizes[quant] for quant in best_first(tuple(sizes))}


def frontier(candidates: Sequence[Candidate]) -> list[str]:
    """The quants that fit, best first; none that is larger than a better one."""
    sizes = fitting(candidates)
    return without_undercut(list(sizes), sizes)


def next_better(quant: str, candidates: Sequence[Candidate]) -> str | None:
    """The next better quant that fits; None where none does."""
    better = [q for q in frontier(candidates) if CATALOGUE[q].rank > CATALOGUE[quant].rank]
    return better[-1] if better else None


def what_it_takes(quant: str, plan: TargetPlan) -> str:
    """What the next better quant would need, where that is more than the target has."""
    rank, budget = CATALOGUE[quant].rank, plan.target.budget_bytes
    better = [c for c in plan.candidates if CATALOGUE[c.quant].rank > rank]
    if not better:
        return f"there is nothing better than {quant} of this source"
    needs = min(better, key=lambda c: c.memory.total_bytes)
    return (
        f"{needs.quant} would need {format_bytes(needs.memory.total_bytes)}, "
        f"{plan.target.name} has {format_bytes(budget)}"
    )


def with_quants(plan: TargetPlan, build: Sequence[str], chosen: str) -> TargetPlan:
    """The plan of a target where these quants take the place of those that did not hold."""
    if tuple(build) == plan.build:
        return plan
    why = f"{plan.chosen} did not hold; {chosen} is the next better that fits"
    return replace(plan, build=tuple(dict.fromkeys(build)), chosen=chosen, why=why)
