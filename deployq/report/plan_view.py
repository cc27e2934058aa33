"""A plan as a table for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deployq.report.wording import BAD, CHOSEN, GOOD, fit_text, parameters_text, plain
from deployq.types import Candidate, DiskPlan, Plan, Target, TargetPlan
from deployq.units import format_bytes

# From this width on, each row shows what its memory is made of.
WIDE_COLUMNS = 110


def plan_view(plan: Plan) -> RenderableType:
    """What a push would do: a table per target, the chosen quant marked, and the disk."""
    return _PlanView(plan)


@dataclass(frozen=True)
class _PlanView:
    plan: Plan

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.max_width >= WIDE_COLUMNS
        yield _source_line(self.plan)
        for target in self.plan.targets:
            yield ""
            yield from _target(target, wide)
        yield ""
        yield _disk_line(self.plan.disk)
        for warning in self.plan.warnings:
            yield _hanging("!", plain(warning), "yellow")


def _source_line(plan: Plan) -> Text:
    info = plan.source
    about = f"{info.architecture}, {parameters_text(info.n_params)} parameters, {info.dtype}"
    return Text.assemble((plain(plan.model), "bold"), f"  {about}, {format_bytes(info.file_bytes)}")


def _target(plan: TargetPlan, wide: bool) -> Iterator[RenderableType]:
    yield _machine_line(plan.target)
    yield _context_line(plan, wide)
    if plan.candidates:
        yield _table(plan, wide)
    if any(candidate.size.fallback_tensors for candidate in plan.candidates):
        yield _hanging("*", "tensors whose rows its blocks don't divide get a larger type", "dim")
    if plan.chosen is None:
        yield _hanging(BAD, plain(plan.why), "red")
    else:
        yield _hanging(CHOSEN, plain(plan.why), "bold")
    if len(plan.build) > 1:
        yield _hanging("", f"builds {', '.join(plan.build)}", "")


def _machine_line(target: Target) -> Text:
    memory, reserve = format_bytes(target.memory_bytes), format_bytes(target.reserve_bytes)
    budget = format_bytes(target.budget_bytes)
    text = f"  {target.kind} {memory} − {reserve} reserve = {budget} budget"
    return Text.assemble((plain(target.name), "bold"), text)


def _context_line(plan: TargetPlan, wide: bool) -> Text:
    target = plan.target
    text = f"  context {target.n_ctx}, cache {target.cache_type}"
    overheads = {(c.memory.kv_cache_bytes, c.memory.compute_bytes) for c in plan.candidates}
    if not wide and len(overheads) == 1:
        kv_cache, compute = overheads.pop()
        text += f": {format_bytes(kv_cache)} KV cache + {format_bytes(compute)} compute"
    return Text(text, style="dim")


def _table(plan: TargetPlan, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", width=1)
    table.add_column("quant", no_wrap=True)
    parts = ("weights", "KV cache", "compute") if wide else ()
    for heading in ("file", "bits/weight" if wide else "bits", *parts, "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("fits?", no_wrap=True)
    table.add_column("why", no_wrap=True)
    for candidate in sorted(plan.candidates, key=lambda c: -c.size.file_bytes):
        chosen = candidate.quant == plan.chosen
        table.add_row(
            CHOSEN if chosen else "",
            *_cells(candidate, plan.target.budget_bytes, wide),
            style="bold" if chosen else None,
        )
    return table


def _cells(candidate: Candidate, budget_bytes: int, wide: bool) -> tuple[str | Text, ...]:
    size, memory = candidate.size, candidate.memory
    parts = (memory.weights_bytes, memory.kv_cache_bytes, memory.compute_bytes) if wide else ()
    return (
        f"{candidate.quant}*" if size.fallback_tensors else candidate.quant,
        format_bytes(size.file_bytes),
        f"{size.bits_per_weight:.2f}",
        *(format_bytes(part) for part in parts),
        format_bytes(memory.total_bytes),
        fit_text(candidate.verdict),
        _why(candidate, budget_bytes),
    )


def _why(candidate: Candidate, budget_bytes: int) -> str:
    """The reason in a few words; the candidate's own repeats the row's figures for JSON."""
    spare = budget_bytes - candidate.memory.total_bytes
    if spare < 0:
        return f"{format_bytes(-spare)} too much"
    return f"{'only ' if candidate.verdict == 'tight' else ''}{format_bytes(spare)} to spare"


def _disk_line(disk: DiskPlan) -> RenderableType:
    enough = disk.needed_bytes <= disk.free_bytes
    text = f"disk: needs {format_bytes(disk.needed_bytes)} of {format_bytes(disk.free_bytes)} free"
    return _hanging(GOOD if enough else BAD, text, "" if enough else "red")


def _hanging(mark: str, text: str, style: str) -> RenderableType:
    """A marked text whose further lines stand under its first."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=1)
    grid.add_column()
    grid.add_row(mark, text, style=style)
    return Padding(grid, 0)
