"""One server's part of a push: everything is tried out, then promoted, target by target.

The tags of a target go together: all of them get their names, or none. A tag that two targets
share is tried out once, and promoted with the first target whose tags are all good.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import NamedTuple, TypeVar

from deployq.errors import DeployqError, ServerError
from deployq.pipeline.damage import with_damage
from deployq.pipeline.escalation import Gate, Settled
from deployq.pipeline.fit import expected_of
from deployq.pipeline.jobs import Built, Job, Work, failed_report, lock_entry, make_job
from deployq.pipeline.locks import alone
from deployq.pipeline.measuring import Measuring
from deployq.pipeline.mending import take_off
from deployq.pipeline.orders import Order
from deployq.pipeline.servers import Site
from deployq.pipeline.transaction import change_names, forget_oldest
from deployq.pipeline.trial import Trial, try_out
from deployq.tags.damage import Damage
from deployq.tags.journal import Swap
from deployq.tags.lockfile import Lockfile
from deployq.tags.names import alias, quant_tag
from deployq.tags.registry import clear_staging, swap_of
from deployq.tags.steps import Steps
from deployq.types import StepStatus, TagReport, TargetReport

T = TypeVar("T")


def carry_out(work: Work, order: Order, built: Built) -> list[TargetReport]:
    """Carry out one server's order; what fails on a tag becomes its report.

    Raises:
        DeployqError: what concerns the whole server; every tag there is as it was.
    """
    model = work.prepared.model.name
    with alone(work.session, order.site, model, "push") as hold, ExitStack() as stages:
        work, order = _afresh(replace(work, hold=hold), order)
        clear_staging(order.site.server, model)
        take_off(work.session, order.site, model, _damaged(order, built))
        gate = _gate(work, order, built, stages)
        settled = [gate.settle(plan) for plan in order.plans]
        aliases = dict(_aliases(gate, order, settled))
        trials = {**gate.trials, **aliases}
        reports = _promote_targets(work, order.site, settled, trials)
    return [_target_report(order.site, one, reports) for one in settled]


def _afresh(work: Work, order: Order) -> tuple[Work, Order]:
    """The order as it is now: another push may have done some of it meanwhile."""
    work = replace(work, lock=Lockfile.load(work.session.lockfile))
    held = order.site.server.tags()

    def again(job: Job) -> Job:
        return make_job(work, job.site, job.wanted, held)

    jobs = with_damage(work, order.site, held, [again(job) for job in order.jobs])
    n_tags = len(order.tags)
    return work, replace(
        order,
        tags=tuple(jobs[:n_tags]),
        aliases=dict(zip(order.aliases, jobs[n_tags:], strict=True)),
    )


def _damaged(order: Order, built: Built) -> dict[str, tuple[Damage, ...]]:
    """By tag, what is damaged on the server, where there is an artifact to mend it with."""
    return {job.tag: job.damage for job in order.jobs if job.rendered.quant in built.artifacts}


def _gate(work: Work, order: Order, built: Built, stages: ExitStack) -> Gate:
    jobs = {job.tag: job for job in order.jobs}
    return Gate(work, order.site, built, stages, Measuring(work, order.site, order.plans), jobs)


def _aliases(gate: Gate, order: Order, settled: Sequence[Settled]) -> Iterator[tuple[str, Trial]]:
    """Every alias tried out, by name, where the tag that it stands for is good."""
    for one in settled:
        job = order.aliases[one.plan.target.name]
        if one.plan.build != one.planned.build:
            job = gate.alias_job(one)
        if one.problem is None and not gate.trials[job.alias_of or ""].failed:
            expected = expected_of(one.plan)
            yield job.tag, try_out(gate.work, job, gate.built, gate.stages, expected=expected)


# ---------------------------------------------------------------- promote


def _promote_targets(
    work: Work, site: Site, settled: Sequence[Settled], trials: Mapping[str, Trial]
) -> dict[str, TagReport]:
    """Promote target by target; the reports of all tags, by name."""
    refused = {verdict.tag for one in settled for verdict in one.verdicts if not verdict.ok}
    bad = [tag for tag, trial in trials.items() if trial.failed or tag in refused]
    reports = {tag: _held_back(trial, bad) for tag, trial in trials.items()}
    for one in settled:
        group = _group(one, trials)
        if one.problem is not None or any(trial.failed for trial in group):
            continue
        ready = [t for t in group if t.staged and reports[t.job.tag].status == "skipped"]
        reports |= _promoted(work, site, ready)
    return reports


def _held_back(trial: Trial, bad: Sequence[str]) -> TagReport:
    """The report of a tag that waits for its target's others."""
    if trial.report.status != "done":
        return trial.report
    reason = f"passed, but a target's tags go together, and {', '.join(bad)} failed"
    if trial.job.tag in bad:
        reason = "the gate says no"
    return replace(trial.report, status="skipped", manifest_digest="", reason=reason)


def _promoted(work: Work, site: Site, ready: Sequence[Trial]) -> dict[str, TagReport]:
    """All of these tags under their names, or none; their reports."""
    if not ready:
        return {}
    steps = Steps(work.tell)
    try:
        with steps.step("promote"):
            _transaction(work, site, ready)
    except DeployqError as exc:
        return {trial.job.tag: failed_report(work, trial.job, exc) for trial in ready}
    with suppress(ServerError):  # it is done; what is too old goes with the next push
        forget_oldest(work.session, site, work.lock, [trial.job.name for trial in ready])
    return {
        trial.job.tag: replace(trial.report, steps=(*trial.report.steps, *steps.done))
        for trial in ready
    }


def _transaction(work: Work, site: Site, ready: Sequence[Trial]) -> None:
    locked = [lock_entry(t.job, t.report, t.artifact) for t in ready if t.artifact]
    swaps = tuple(_swaps(site, ready))
    assert work.hold is not None, "the model is held while it is deployed"
    change_names(work.session, site, work.hold, swaps, locked)


def _swaps(site: Site, ready: Sequence[Trial]) -> Iterator[Swap]:
    held = site.server.tags()
    for trial in ready:
        if trial.staged:
            staged = trial.staged
            yield swap_of(held, staged.name, staged.staging, staged.manifest_digest)


# ---------------------------------------------------------------- one target


def _group(one: Settled, by_tag: Mapping[str, T]) -> list[T]:
    """A target's tags, its alias last (where that was tried at all)."""
    model, plan = one.model, one.plan
    wanted = [str(quant_tag(model, quant)) for quant in plan.build]
    of = str(alias(model, plan.target.name))
    return [by_tag[tag] for tag in (*wanted, of) if tag in by_tag]


def _target_report(site: Site, one: Settled, by_tag: Mapping[str, TagReport]) -> TargetReport:
    reports = _group(one, by_tag)
    failed = [report for report in reports if report.status == "failed"]
    statuses = {report.status for report in reports}
    problem = one.problem or (_first_failure(failed) if failed else None)
    tags = tuple(report for report in reports if not report.alias_of)
    return TargetReport(
        target=one.plan.target.name,
        host=site.endpoint.url,
        runtime=site.endpoint.runtime,
        status="failed" if problem else "unchanged" if statuses == {"unchanged"} else "done",
        chosen=one.plan.chosen,
        alias=next((report for report in reports if report.alias_of), None),
        tags=(*tags, *_gave_way(one, by_tag)),
        reason=problem.message if problem else "",
        hint=problem.hint if problem else "",
        exit_code=problem.exit_code if problem else 0,
        planned=one.planned.chosen if one.planned.chosen != one.plan.chosen else None,
        gate=one.verdicts,
    )


def _gave_way(one: Settled, by_tag: Mapping[str, TagReport]) -> Iterator[TagReport]:
    """The tags that the gate put others in the place of."""
    for verdict in one.verdicts:
        report = by_tag[verdict.tag]
        if verdict.quant in one.gave_way:
            why = "; ".join(rule.reason for rule in verdict.failed)
            reason = f"gave way to {one.plan.chosen}: {why}"
            status: StepStatus = "unchanged" if report.status == "unchanged" else "skipped"
            yield replace(report, status=status, reason=reason, exit_code=0)


def _first_failure(failed: Sequence[TagReport]) -> Failure:
    first = failed[0]
    alike = [report.tag for report in failed if report.reason == first.reason]
    others = len(failed) - len(alike)
    more = f" (and {others} more)" if others else ""
    return Failure(f"{', '.join(alike)}: {first.reason}{more}", first.hint, first.exit_code)


class Failure(NamedTuple):
    """Why a target failed; what a `DeployqError` says too."""

    message: str
    hint: str
    exit_code: int
