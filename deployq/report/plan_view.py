"""A plan for people: per target a bar for each candidate, the choice, and what else there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployq.report.bars import legend, memory_bar
from deployq.report.lines import Column, Line, Sheet, hanging, table
from deployq.report.wording import (
    BAD,
    CHOSEN,
    FIT_MARKS,
    FIT_STYLES,
    GOOD,
    NOTHING,
    parameters_text,
    plain,
    serving_text,
    speed_text,
)
from deployq.types import Candidate, DiskPlan, FileSystem, Plan, Target, TargetPlan
from deployq.units import format_bytes

# From this width on, each row shows what its memory is made of.
WIDE_COLUMNS = 130
SMALLEST_BAR, LARGEST_BAR = 10, 48
ADVICE, WARNING, NOTE, AT_MOST = "→", "!", "i", "≤"
_GAP = 2


def plan_view(plan: Plan) -> Sheet:
    """What a push would do: a table per target, the chosen quant marked, and the disk."""

    def lines(columns: int) -> Iterator[Line]:
        yield source_line(plan)
        for target in plan.targets:
            yield ()
            yield from _target(plan, target, columns)
        yield ()
        if any(target.candidates for target in plan.targets):
            yield legend()
        for sheet in _disk(plan.disk):
            yield from sheet(columns)

    return lines


def remarks_view(plan: Plan) -> Sheet:
    """What a plan's figures rest on, and its warnings."""

    def lines(columns: int) -> Iterator[Line]:
        for note in plan.notes:
            yield from hanging(NOTE, plain(note), "dim")(columns)
        for warning in plan.warnings:
            yield from hanging(WARNING, plain(warning), "yellow")(columns)

    return lines


def source_line(plan: Plan) -> Line:
    """The model in one line."""
    info = plan.source
    about = f"{info.architecture}, {parameters_text(info.n_params)} parameters, {info.dtype}"
    trained = f", trained for {info.n_ctx_train} tokens" if info.n_ctx_train else ""
    return (
        (plain(plan.model), "bold"),
        (f"  {plain(about)}, {format_bytes(info.file_bytes)}{trained}", ""),
    )


def machine_line(target: Target) -> Line:
    """A target's memory: what there is, what is kept, what is left for a model."""
    memory, reserve = format_bytes(target.memory_bytes), format_bytes(target.reserve_bytes)
    budget = format_bytes(target.budget_bytes)
    text = f"  {target.kind} {memory} − {reserve} reserve = {budget} budget"
    return ((plain(target.name), "bold"), (text, ""))


# ---------------------------------------------------------------- one target


def _target(plan: Plan, target: TargetPlan, columns: int) -> Iterator[Line]:
    wide = columns >= WIDE_COLUMNS
    yield machine_line(target.target)
    yield _context_line(target, wide)
    if target.candidates:
        yield from _table(plan, target, columns)
    for sheet in _sentences(target, wide):
        yield from sheet(columns)


def _sentences(target: TargetPlan, wide: bool) -> Iterator[Sheet]:
    """What stands below the rows."""
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


def _context_line(plan: TargetPlan, wide: bool) -> Line:
    target = plan.target
    text = f"  {serving_text(target)}"
    overheads = {(c.memory.kv_cache_bytes, c.memory.compute_bytes) for c in plan.candidates}
    if not wide and len(overheads) == 1:
        kv_cache, compute = overheads.pop()
        text += f": {format_bytes(kv_cache)} KV cache + {format_bytes(compute)} compute"
    return ((text, "dim"),)


def _speed_sentence(plan: TargetPlan) -> str:
    chosen = next((c for c in plan.candidates if c.quant == plan.chosen), None)
    if chosen is None or chosen.speed is None:
        return ""
    return f"{chosen.quant} generates {speed_text(chosen.speed)} tokens/s, by estimate"


# ---------------------------------------------------------------- its table


def _table(plan: Plan, target: TargetPlan, width: int) -> Iterator[Line]:
    candidates = sorted(target.candidates, key=lambda c: -c.size.file_bytes)
    columns = _columns(plan, target, candidates, wide=width >= WIDE_COLUMNS)
    room = width - sum(column.width + _GAP for column in columns)
    if room >= SMALLEST_BAR:
        bars = [memory_bar(c.memory, target.target, min(room, LARGEST_BAR)) for c in candidates]
        place = next(i for i, column in enumerate(columns) if column.heading == "memory")
        columns.insert(place, Column("", bars, right=False))
    styles = ["bold" if candidate.quant == target.chosen else "" for candidate in candidates]
    return table(columns, styles, width)


def _columns(
    plan: Plan, target: TargetPlan, candidates: Sequence[Candidate], *, wide: bool
) -> list[Column]:
    marks = [CHOSEN if c.quant == target.chosen else "" for c in candidates]
    names = [f"{c.quant}*" if c.size.fallback_tensors else c.quant for c in candidates]
    most = AT_MOST if plan.upper_bound else ""
    columns = [
        _column("", marks, right=False),
        _column("quant", names, right=False),
        _column("file", [format_bytes(c.size.file_bytes) for c in candidates]),
    ]
    if wide:
        columns += _parts(candidates)
    columns += [
        _column("memory", [f"{most}{format_bytes(c.memory.total_bytes)}" for c in candidates]),
        Column("fits?", [_fit(c, target.target) for c in candidates], right=False),
    ]
    return [*columns, *_reach(candidates)] if wide else columns


def _column(heading: str, cells: Sequence[str], *, right: bool = True) -> Column:
    return Column(heading, [((cell, ""),) for cell in cells], right)


def _parts(candidates: Sequence[Candidate]) -> list[Column]:
    """What a row's memory is made of, and how many bits a weight has."""
    return [
        _column("bits", [f"{c.size.bits_per_weight:.2f}" for c in candidates]),
        _column("weights", [format_bytes(c.memory.weights_bytes) for c in candidates]),
        _column("KV cache", [format_bytes(c.memory.kv_cache_bytes) for c in candidates]),
        _column("compute", [format_bytes(c.memory.compute_bytes) for c in candidates]),
    ]


def _reach(candidates: Sequence[Candidate]) -> Iterator[Column]:
    """How far a row goes: the largest context, and the speed."""
    if any(c.max_context for c in candidates):
        cells = [str(c.max_context) if c.max_context else NOTHING for c in candidates]
        yield _column("max. context", cells)
    if any(c.speed for c in candidates):
        cells = [speed_text(c.speed) if c.speed else NOTHING for c in candidates]
        yield _column("~tokens/s", cells)


def _fit(candidate: Candidate, target: Target) -> Line:
    """The verdict and how far it is from the budget."""
    spare = target.budget_bytes - candidate.memory.total_bytes
    room = f"{format_bytes(spare)} to spare" if spare >= 0 else f"{format_bytes(-spare)} too much"
    return ((f"{FIT_MARKS[candidate.verdict]}, {room}", FIT_STYLES[candidate.verdict]),)


# ---------------------------------------------------------------- disk


def _disk(disk: DiskPlan) -> Iterator[Sheet]:
    if not disk.filesystems:
        yield _disk_line("disk", disk.needed_bytes, disk.free_bytes)
    for system in disk.filesystems:
        yield _disk_line(_disk_name(system), system.needed_bytes, system.free_bytes)


def _disk_name(system: FileSystem) -> str:
    return f"disk for {plain(system.name)}"


def _disk_line(name: str, needed_bytes: int, free_bytes: int) -> Sheet:
    enough = needed_bytes <= free_bytes
    text = f"{name}: needs {format_bytes(needed_bytes)} of {format_bytes(free_bytes)} free"
    return hanging(GOOD if enough else BAD, text, "" if enough else "red")
