"""Several models on one target, for people: one row per model, and their sum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployq.report.bars import FREE, legend, memory_bar
from deployq.report.lines import Column, Line, Sheet, hanging, table
from deployq.report.plan_view import LARGEST_BAR, machine_line
from deployq.report.wording import BAD, CHOSEN, FIT_MARKS, FIT_STYLES, plain
from deployq.types import Memory, TogetherPlan
from deployq.units import format_bytes

_OTHER_COLUMNS = 46  # what stands beside the bar, but for the model's name
Row = tuple[Line, ...]


def together_view(plans: Sequence[TogetherPlan], warnings: Sequence[str] = ()) -> Sheet:
    """The plans of several models that share their targets' memory."""

    def lines(columns: int) -> Iterator[Line]:
        for plan in plans:
            yield from _target(plan, columns)
            yield ()
        yield legend()
        for warning in warnings:
            yield from hanging("!", plain(warning), "yellow")(columns)

    return lines


def _target(plan: TogetherPlan, columns: int) -> Iterator[Line]:
    yield machine_line(plan.target)
    yield from _table(plan, columns)
    good = plan.verdict != "no"
    yield from hanging(CHOSEN if good else BAD, plain(plan.why), "bold" if good else "red")(columns)


def _table(plan: TogetherPlan, width: int) -> Iterator[Line]:
    names = [plain(share.model) for share in plan.shares]
    room = width - _OTHER_COLUMNS - max(map(len, [*names, "all together"]))
    rows = list(_rows(plan, names, max(10, min(room, LARGEST_BAR))))
    headings = ("model", "quant", "context", "", "memory", "fits?")
    columns = [
        Column(heading, cells, right=heading in ("context", "memory"))
        for heading, cells in zip(headings, zip(*rows, strict=True), strict=True)
    ]
    return table(columns, [*[""] * (len(rows) - 1), "bold"], width)


def _rows(plan: TogetherPlan, names: Sequence[str], bar: int) -> Iterator[Row]:
    for name, share in zip(names, plan.shares, strict=True):
        memory = share.candidate.memory
        yield (
            _cell(name),
            _cell(share.candidate.quant),
            _cell(str(share.n_ctx)),
            memory_bar(memory, plan.target, bar),
            _cell(format_bytes(memory.total_bytes)),
            (),
        )
    if plan.extra_bytes:
        more = _cell(format_bytes(plan.extra_bytes))
        yield (_cell("more processes"), (), (), _cell(FREE.character), more, ())
    whole, fit = _sum(plan), plan.verdict
    yield (
        _cell("all together"),
        (),
        (),
        memory_bar(whole, plan.target, bar),
        _cell(format_bytes(whole.total_bytes)),
        ((FIT_MARKS[fit], FIT_STYLES[fit]),),
    )


def _cell(text: str) -> Line:
    return ((text, ""),)


def _sum(plan: TogetherPlan) -> Memory:
    """All models' memory; what their processes take beside it counts as compute."""
    parts = [share.candidate.memory for share in plan.shares]
    return Memory(
        sum(memory.weights_bytes for memory in parts),
        sum(memory.kv_cache_bytes for memory in parts),
        sum(memory.compute_bytes for memory in parts) + plan.extra_bytes,
    )
