"""A plan as Markdown, for a pull request or a model card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployq.report.wording import (
    FIT_MARKS,
    NOTHING,
    parameters_text,
    plain,
    serving_text,
    speed_text,
)
from deployq.types import Candidate, Plan, TargetPlan
from deployq.units import format_bytes

_SPECIAL = "\\`*_[]<>|#~"


def plan_markdown(plan: Plan) -> str:
    """The whole plan: a table per target, the choice, the advice, disk and warnings."""
    return "\n".join(_lines(plan)) + "\n"


def escaped(text: str) -> str:
    """A foreign text on one line, without what Markdown or HTML would take for its own."""
    return "".join(f"\\{c}" if c in _SPECIAL else c for c in plain(text)).replace("&", "&amp;")


def _lines(plan: Plan) -> Iterator[str]:
    info = plan.source
    yield f"# Plan for {escaped(plan.model)}"
    yield ""
    yield (
        f"{escaped(info.architecture)}, {parameters_text(info.n_params)} parameters, "
        f"{info.dtype}, {format_bytes(info.file_bytes)}"
    )
    for target in plan.targets:
        yield ""
        yield from _target(target, "≤ " if plan.upper_bound else "")
    yield ""
    for system in plan.disk.filesystems:
        yield (
            f"Disk for {escaped(system.name)}: needs {format_bytes(system.needed_bytes)} of "
            f"{format_bytes(system.free_bytes)} free.  "
        )
    for note in plan.notes:
        yield f"{escaped(note)}.  "
    for warning in plan.warnings:
        yield f"**Warning:** {escaped(warning)}  "


def _target(plan: TargetPlan, most: str) -> Iterator[str]:
    target = plan.target
    yield f"## {escaped(target.name)}"
    yield ""
    yield (
        f"{target.kind}, {format_bytes(target.memory_bytes)} − "
        f"{format_bytes(target.reserve_bytes)} reserve = "
        f"{format_bytes(target.budget_bytes)} budget; {escaped(serving_text(target))}"
    )
    yield ""
    yield from _table(sorted(plan.candidates, key=lambda c: -c.size.file_bytes), plan, most)
    yield f"**{escaped(plan.why)}**"
    for sentence in plan.advice:
        yield f"- {escaped(sentence)}"


def _table(candidates: Sequence[Candidate], plan: TargetPlan, most: str) -> Iterator[str]:
    if not candidates:
        return
    speeds = any(c.speed for c in candidates)
    heads = ["quant", "file", "bits", "weights", "KV cache", "compute", "memory", "fits?"]
    heads += ["max. context", *(["tokens/s (estimate)"] if speeds else [])]
    yield f"| {' | '.join(heads)} |"
    yield f"|---{'|---:' * 6}|---|---:|{'---:|' if speeds else ''}"
    for candidate in candidates:
        yield f"| {' | '.join(_cells(candidate, plan, most, speeds=speeds))} |"
    yield ""


def _cells(candidate: Candidate, plan: TargetPlan, most: str, *, speeds: bool) -> Iterator[str]:
    size, memory = candidate.size, candidate.memory
    name = escaped(candidate.quant)
    yield f"**{name}**" if candidate.quant == plan.chosen else name
    yield format_bytes(size.file_bytes)
    yield f"{size.bits_per_weight:.2f}"
    for part in (memory.weights_bytes, memory.kv_cache_bytes, memory.compute_bytes):
        yield format_bytes(part)
    yield f"{most}{format_bytes(memory.total_bytes)}"
    yield escaped(FIT_MARKS[candidate.verdict])
    yield str(candidate.max_context or NOTHING)
    if speeds:
        yield speed_text(candidate.speed) if candidate.speed else NOTHING
