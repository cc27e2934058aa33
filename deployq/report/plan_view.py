"""A plan for people: per target a bar for each candidate, the choice, and what else there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deployq.report.bars import legend, memory_bar
from deployq.report.styles import FIT_STYLES
from deployq.report.wording import (
    BAD,
    CHOSEN,
    FIT_MARKS,
    GOOD,
    NOTHING,
    parameters_text,
    plain,
    speed_text,
)
from deployq.types import Candidate, DiskPlan, FileSystem, Judged, Plan, Target, TargetPlan
from deployq.units import format_bytes

# From this width on, each row shows what its memory is made of.
WIDE_COLUMNS = 130
SMALLEST_BAR, LARGEST_BAR = 10, 48
ADVICE, WARNING, NOTE, AT_MOST = "→", "!", "i", "≤"
_GAP = 2
_ROUNDING_BYTES = 1 << 20  # tools print whole MiB


def plan_view(plan: Plan) -> RenderableType:
    """What a push would do: a table per target, the chosen quant marked, and the disk."""
    return _PlanView(plan)


@dataclass(frozen=True)
class _PlanView:
    plan: Plan

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        yield source_line(self.plan)
        for target in self.plan.targets:
            yield ""
            yield from _target(self.plan, target, width)
        yield ""
        if any(target.candidates for target in self.plan.targets):
            yield legend()
        yield from _disk(self.plan.disk)
        yield from _judged(self.plan.judged)
        for note in self.plan.notes:
            yield hanging(NOTE, plain(note), "dim")
        for warning in self.plan.warnings:
            yield hanging(WARNING, plain(warning), "yellow")


def source_line(plan: Plan) -> Text:
    """The model in one line."""
    info = plan.source
    about = f"{info.architecture}, {parameters_text(info.n_params)} parameters, {info.dtype}"
    trained = f", trained for {info.n_ctx_train} tokens" if info.n_ctx_train else ""
    return Text.assemble(
        (plain(plan.model), "bold"),
        f"  {plain(about)}, {format_bytes(info.file_bytes)}{trained}",
    )


def hanging(mark: str, text: str, style: str = "") -> RenderableType:
    """A marked text whose further lines stand under its first."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=1)
    grid.add_column()
    grid.add_row(mark, text, style=style)
    return Padding(grid, 0)


def machine_line(target: Target) -> Text:
    """A target's memory: what there is, what is kept, what is left for a model."""
    memory, reserve = format_bytes(target.memory_bytes), format_bytes(target.reserve_bytes)
    budget = format_bytes(target.budget_bytes)
    text = f"  {target.kind} {memory} − {reserve} reserve = {budget} budget"
    return Text.assemble((plain(target.name), "bold"), text)


# ---------------------------------------------------------------- one target


def _target(plan: Plan, target: TargetPlan, width: int) -> Iterator[RenderableType]:
    wide = width >= WIDE_COLUMNS
    yield machine_line(target.target)
    yield _context_line(target, wide)
    if target.candidates:
        yield _table(plan, target, width)
    if any(candidate.size.fallback_tensors for candidate in target.candidates):
        yield hanging("*", "tensors whose rows its blocks don't divide get a larger type", "dim")
    mark, style = (BAD, "red") if target.chosen is None else (CHOSEN, "bold")
    yield hanging(mark, plain(target.why), style)
    if not wide and (speed := _speed_sentence(target)):
        yield hanging(ADVICE, speed)
    if len(target.build) > 1:
        yield hanging(ADVICE, f"builds {', '.join(target.build)}")
    for sentence in target.advice:
        yield hanging(ADVICE, plain(sentence))


def _context_line(plan: TargetPlan, wide: bool) -> Text:
    target = plan.target
    text = f"  context {target.n_ctx}, cache {target.cache_type}"
    overheads = {(c.memory.kv_cache_bytes, c.memory.compute_bytes) for c in plan.candidates}
    if not wide and len(overheads) == 1:
        kv_cache, compute = overheads.pop()
        text += f": {format_bytes(kv_cache)} KV cache + {format_bytes(compute)} compute"
    return Text(text, style="dim")


def _speed_sentence(plan: TargetPlan) -> str:
    chosen = next((c for c in plan.candidates if c.quant == plan.chosen), None)
    if chosen is None or chosen.speed is None:
        return ""
    return f"{chosen.quant} generates {speed_text(chosen.speed)} tokens/s, by estimate"


# ---------------------------------------------------------------- its table


@dataclass(frozen=True)
class _Column:
    """A column of the table: its heading, its cells, and whether they stand to the right."""

    heading: str
    cells: Sequence[str | Text]
    right: bool = True

    @property
    def width(self) -> int:
        return max(len(cell) for cell in (self.heading, *self.cells))


def _table(plan: Plan, target: TargetPlan, width: int) -> Table:
    candidates = sorted(target.candidates, key=lambda c: -c.size.file_bytes)
    columns = _columns(plan, target, candidates, wide=width >= WIDE_COLUMNS)
    room = width - sum(column.width + _GAP for column in columns)
    if room >= SMALLEST_BAR:
        bars = [memory_bar(c.memory, target.target, min(room, LARGEST_BAR)) for c in candidates]
        place = next(i for i, column in enumerate(columns) if column.heading == "memory")
        columns.insert(place, _Column("", bars, right=False))
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for column in columns:
        justify = "right" if column.right else "left"
        table.add_column(column.heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row, candidate in enumerate(candidates):
        style = "bold" if candidate.quant == target.chosen else None
        table.add_row(*(column.cells[row] for column in columns), style=style)
    return table


def _columns(
    plan: Plan, target: TargetPlan, candidates: Sequence[Candidate], *, wide: bool
) -> list[_Column]:
    marks = [CHOSEN if c.quant == target.chosen else "" for c in candidates]
    names = [f"{c.quant}*" if c.size.fallback_tensors else c.quant for c in candidates]
    most = AT_MOST if plan.upper_bound else ""
    columns = [
        _Column("", marks, right=False),
        _Column("quant", names, right=False),
        _Column("file", [format_bytes(c.size.file_bytes) for c in candidates]),
    ]
    if wide:
        columns += _parts(candidates)
    columns += [
        _Column("memory", [f"{most}{format_bytes(c.memory.total_bytes)}" for c in candidates]),
        _Column("fits?", [_fit(c, target.target) for c in candidates], right=False),
    ]
    return [*columns, *_reach(candidates)] if wide else columns


def _parts(candidates: Sequence[Candidate]) -> list[_Column]:
    """What a row's memory is made of, and how many bits a weight has."""
    return [
        _Column("bits", [f"{c.size.bits_per_weight:.2f}" for c in candidates]),
        _Column("weights", [format_bytes(c.memory.weights_bytes) for c in candidates]),
        _Column("KV cache", [format_bytes(c.memory.kv_cache_bytes) for c in candidates]),
        _Column("compute", [format_bytes(c.memory.compute_bytes) for c in candidates]),
    ]


def _reach(candidates: Sequence[Candidate]) -> Iterator[_Column]:
    """How far a row goes: the largest context, and the speed."""
    if any(c.max_context for c in candidates):
        cells = [str(c.max_context) if c.max_context else NOTHING for c in candidates]
        yield _Column("max. context", cells)
    if any(c.speed for c in candidates):
        cells = [speed_text(c.speed) if c.speed else NOTHING for c in candidates]
        yield _Column("~tokens/s", cells)


def _fit(candidate: Candidate, target: Target) -> Text:
    """The verdict and how far it is from the budget."""
    spare = target.budget_bytes - candidate.memory.total_bytes
    room = f"{format_bytes(spare)} to spare" if spare >= 0 else f"{format_bytes(-spare)} too much"
    return Text(f"{FIT_MARKS[candidate.verdict]}, {room}", style=FIT_STYLES[candidate.verdict])


# ---------------------------------------------------------------- disk, judge


def _disk(disk: DiskPlan) -> Iterator[RenderableType]:
    if not disk.filesystems:
        yield _disk_line("disk", disk.needed_bytes, disk.free_bytes)
    for system in disk.filesystems:
        yield _disk_line(_disk_name(system), system.needed_bytes, system.free_bytes)


def _disk_name(system: FileSystem) -> str:
    return f"disk for {plain(system.name)}"


def _disk_line(name: str, needed_bytes: int, free_bytes: int) -> RenderableType:
    enough = needed_bytes <= free_bytes
    text = f"{name}: needs {format_bytes(needed_bytes)} of {format_bytes(free_bytes)} free"
    return hanging(GOOD if enough else BAD, text, "" if enough else "red")


def _judged(judged: Sequence[Judged]) -> Iterator[RenderableType]:
    """deployq's figures beside those of a real tool."""
    if not judged:
        return
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for heading in ("asked of a real tool", "deployq", "the tool", "difference", "by"):
        right = heading in ("deployq", "the tool", "difference")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for one in judged:
        table.add_row(
            plain(one.what),
            format_bytes(one.own_bytes),
            format_bytes(one.judge_bytes),
            _difference(one),
            plain(one.judge),
        )
    yield ""
    yield table


def _difference(one: Judged) -> str:
    if one.own_bytes == one.judge_bytes:
        return "none"
    if abs(one.own_bytes - one.judge_bytes) <= _ROUNDING_BYTES:
        return "< 1 MiB"
    return f"{one.difference:+.2%}"
