"""Several models on one target, for people: one row per model, and their sum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from deployq.report.bars import FREE, legend, memory_bar
from deployq.report.plan_view import LARGEST_BAR, hanging, machine_line
from deployq.report.styles import fit_text
from deployq.report.wording import BAD, CHOSEN, plain
from deployq.types import Memory, TogetherPlan
from deployq.units import format_bytes

_OTHER_COLUMNS = 46  # what stands beside the bar, but for the model's name


class TogetherView:
    """The plans of several models that share their targets' memory."""

    def __init__(self, plans: Sequence[TogetherPlan], warnings: Sequence[str] = ()) -> None:
        self.plans, self.warnings = plans, warnings

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for plan in self.plans:
            yield from _target(plan, options.max_width)
            yield ""
        yield legend()
        for warning in self.warnings:
            yield hanging("!", plain(warning), "yellow")


def _target(plan: TogetherPlan, width: int) -> Iterator[RenderableType]:
    yield machine_line(plan.target)
    yield _table(plan, width)
    good = plan.verdict != "no"
    yield hanging(CHOSEN if good else BAD, plain(plan.why), "bold" if good else "red")


def _table(plan: TogetherPlan, width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    names = [plain(share.model) for share in plan.shares]
    room = width - _OTHER_COLUMNS - max(map(len, [*names, "all together"]))
    bar = max(10, min(room, LARGEST_BAR))
    for heading in ("model", "quant", "context", "", "memory", "fits?"):
        table.add_column(
            heading, no_wrap=True, justify="right" if heading in ("context", "memory") else "left"
        )
    for name, share in zip(names, plan.shares, strict=True):
        memory = share.candidate.memory
        table.add_row(
            name,
            share.candidate.quant,
            str(share.n_ctx),
            memory_bar(memory, plan.target, bar),
            format_bytes(memory.total_bytes),
        )
    if plan.extra_bytes:
        table.add_row(
            "more processes", "", "", Text(FREE.character), format_bytes(plan.extra_bytes)
        )
    whole = _sum(plan)
    table.add_row(
        "all together",
        "",
        "",
        memory_bar(whole, plan.target, bar),
        format_bytes(whole.total_bytes),
        fit_text(plan.verdict),
        style="bold",
    )
    return table


def _sum(plan: TogetherPlan) -> Memory:
    """All models' memory; what their processes take beside it counts as compute."""
    parts = [share.candidate.memory for share in plan.shares]
    return Memory(
        sum(memory.weights_bytes for memory in parts),
        sum(memory.kv_cache_bytes for memory in parts),
        sum(memory.compute_bytes for memory in parts) + plan.extra_bytes,
    )
