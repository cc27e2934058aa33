"""Which quant goes to which machine: pure, from figures to a `Plan`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from deployq.errors import ConfigError, SourceError
from deployq.plan.catalogue import CATALOGUE, CEILINGS, COMMON, best_first, exceeds
from deployq.plan.disk import disk_plan
from deployq.plan.memory import predict, upper_bound_reason
from deployq.types import (
    Candidate,
    DiskPlan,
    Fit,
    Memory,
    ModelInfo,
    Plan,
    QuantSize,
    Target,
    TargetPlan,
)
from deployq.units import format_bytes

TIGHT_SHARE = 0.05
"""A total within this share of the budget is "tight". The prediction itself is good to 0.1 % on
the models it was measured on; the rest is for what a header can't tell: buffers of other
backends, fragmentation, what else runs on the machine."""

MANY_FALLBACKS = 0.10
"""From this share of tensors on, a quant is no longer what its name says."""

SMALLEST_USEFUL_CONTEXT = 1024

MemoryOf = Callable[[QuantSize, int, str], Memory]
SizeOf = Callable[[str], QuantSize]


@dataclass(frozen=True)
class _Planning:
    """What stays the same over all targets."""

    info: ModelInfo
    size_of: SizeOf
    memory_of: MemoryOf


def make_plan(
    model: str,
    info: ModelInfo,
    targets: Sequence[Target],
    size_of: SizeOf,
    *,
    free_bytes: int,
    cached: frozenset[str] = frozenset(),
    memory_of: MemoryOf | None = None,
) -> Plan:
    """Weigh every candidate against every target and choose.

    Args:
        model: the model's name.
        info: what its header says.
        targets: the machines, fully resolved.
        size_of: the exact size of a quant of this model; `SourceError` where it can't be made.
        free_bytes: free disk where artifacts go.
        cached: quants whose artifact is there already.
        memory_of: (size, n_ctx, cache type) -> memory; None: from the header.

    Raises:
        ConfigError: a quant that was asked for needs an importance matrix, or is more precise
            than the source.
        SourceError: a quant that was asked for can't be made of this model.
    """

    def from_header(size: QuantSize, n_ctx: int, cache_type: str) -> Memory:
        return predict(info, size, n_ctx, cache_type)

    planning = _Planning(info, cache(size_of), memory_of or from_header)
    plans = tuple(_plan_target(planning, target) for target in targets)
    built = tuple(dict.fromkeys(quant for plan in plans for quant in plan.build))
    disk = disk_plan([planning.size_of(quant) for quant in built], free_bytes, cached)
    warnings = (*_context_warnings(info, plans), *_fallback_warnings(info, plans))
    return Plan(model, info, plans, disk, (*warnings, *_disk_warnings(disk)))


def _plan_target(planning: _Planning, target: Target) -> TargetPlan:
    sizes = _asked(planning, target) if target.quants else _common(planning)
    candidates = tuple(_weigh(planning, target, size) for size in sizes)
    chosen = _choose(target, candidates)
    if chosen is None:
        return TargetPlan(target, candidates, None, _why_not(planning, target, candidates), ())
    fitting = tuple(c.quant for c in candidates if c.verdict != "no")
    build = fitting if target.quants else (chosen.quant,)
    return TargetPlan(target, candidates, chosen.quant, _why(target, chosen), build)


def _asked(planning: _Planning, target: Target) -> list[QuantSize]:
    """The sizes of the quants that a target names, each checked."""
    for name in target.quants:
        if CATALOGUE[name].needs_imatrix:
            raise ConfigError(
                f"target {target.name!r}: {name} needs an importance matrix, "
                "which this version does not make",
                hint="choose one that needs none, such as Q2_K or Q3_K_M",
            )
        if exceeds(name, planning.info.dtype):
            raise ConfigError(
                f"target {target.name!r}: {name} holds more than the source, whose weights are "
                f"{planning.info.dtype}",
                hint=f"choose {planning.info.dtype} or smaller",
            )
    return [planning.size_of(name) for name in dict.fromkeys(target.quants)]


def _common(planning: _Planning) -> list[QuantSize]:
    """The catalogue's common quants, those left out that this source can't become."""
    sizes = []
    for name in COMMON:
        if exceeds(name, planning.info.dtype):
            continue
        try:
            sizes.append(planning.size_of(name))
        except SourceError:
            continue
    return sizes


def _weigh(planning: _Planning, target: Target, size: QuantSize) -> Candidate:
    memory = planning.memory_of(size, target.n_ctx, target.cache_type)
    verdict = judge(memory.total_bytes, target.budget_bytes)
    reason = _reason(memory, target.budget_bytes, verdict)
    bound = upper_bound_reason(planning.info)
    return Candidate(size, memory, verdict, f"{reason}; {bound}" if bound else reason)


def judge(total_bytes: int, budget_bytes: int) -> Fit:
    """The verdict on a total: "tight" is within `TIGHT_SHARE` of the budget."""
    if total_bytes > budget_bytes:
        return "no"
    return "tight" if total_bytes > (1 - TIGHT_SHARE) * budget_bytes else "fits"


def _reason(memory: Memory, budget: int, verdict: Fit) -> str:
    total = memory.total_bytes
    parts = (
        f"weights {format_bytes(memory.weights_bytes)}, "
        f"KV cache {format_bytes(memory.kv_cache_bytes)}, "
        f"compute {format_bytes(memory.compute_bytes)}"
    )
    needs = f"needs {format_bytes(total)} ({parts})"
    if verdict == "no":
        return f"{needs}: {format_bytes(total - budget)} more than the {format_bytes(budget)}"
    if verdict == "tight":
        return f"{needs} of {format_bytes(budget)}: only {format_bytes(budget - total)} to spare"
    return f"{needs} of {format_bytes(budget)}"


def _choose(target: Target, candidates: Sequence[Candidate]) -> Candidate | None:
    """The best candidate that fits, no better than the goal wants.

    Of quants that were named without a goal, the best; where all that fit are above the goal's
    ceiling, the one nearest to it.
    """
    fitting = [c for c in candidates if c.verdict != "no"]
    if not fitting:
        return None
    fitting.sort(key=lambda c: -CATALOGUE[c.quant].rank)
    if target.quants and not target.goal_given:
        return fitting[0]
    ceiling = CATALOGUE[CEILINGS[target.goal]].rank
    below = [c for c in fitting if CATALOGUE[c.quant].rank <= ceiling]
    if below:
        return below[0]
    return fitting[-1] if target.quants else None


def _why(target: Target, chosen: Candidate) -> str:
    budget, total = format_bytes(target.budget_bytes), format_bytes(chosen.memory.total_bytes)
    tight = ", tightly" if chosen.verdict == "tight" else ""
    fit = f"{total} of {budget} at a context of {target.n_ctx}"
    if target.quants and not target.goal_given:
        return f"{chosen.quant} is the best of the quants asked for that fits{tight}: {fit}"
    ceiling = CEILINGS[target.goal]
    if chosen.quant == ceiling:
        return (
            f"{chosen.quant} is what the goal {target.goal!r} asks for, and it fits{tight}: {fit}"
        )
    among = "of the quants asked for " if target.quants else ""
    return (
        f"the goal {target.goal!r} asks for {ceiling}; {chosen.quant} is the nearest {among}"
        f"that fits{tight}: {fit}"
    )


def _why_not(planning: _Planning, target: Target, candidates: Sequence[Candidate]) -> str:
    """What is missing, and the first thing that would help."""
    if not candidates:
        return f"no quant can be made of weights that are {planning.info.dtype}"
    smallest = min(candidates, key=lambda c: c.memory.total_bytes)
    missing = smallest.memory.total_bytes - target.budget_bytes
    if missing <= 0:
        return (
            f"nothing up to {CEILINGS[target.goal]}, the best that the goal {target.goal!r} "
            "takes, fits; name a quant to have another"
        )
    said = (
        f"nothing fits: even {smallest.quant} needs {format_bytes(smallest.memory.total_bytes)}, "
        f"{format_bytes(missing)} more than the {format_bytes(target.budget_bytes)} there are"
    )
    return f"{said}; {_help(planning, target, smallest.size)}"


def _help(planning: _Planning, target: Target, smallest: QuantSize) -> str:
    """Changes that make the smallest candidate fit, the gentlest first."""

    def fits(size: QuantSize, n_ctx: int, cache_type: str) -> bool:
        return planning.memory_of(size, n_ctx, cache_type).total_bytes <= target.budget_bytes

    ideas = []
    if target.cache_type == "f16" and fits(smallest, target.n_ctx, "q8_0"):
        ideas.append('cache_type = "q8_0"')
    n_ctx = target.n_ctx // 2
    while n_ctx >= SMALLEST_USEFUL_CONTEXT and not fits(smallest, n_ctx, target.cache_type):
        n_ctx //= 2
    if n_ctx >= SMALLEST_USEFUL_CONTEXT:
        ideas.append(f"a context of {n_ctx}")
    smaller = [size for size in _common(planning) if size.file_bytes < smallest.file_bytes]
    for size in sorted(smaller, key=lambda s: -s.file_bytes):
        if fits(size, target.n_ctx, target.cache_type):
            ideas.append(f"the smaller quant {size.quant}")
            break
    if ideas:
        return f"what would help: {' or '.join(ideas)}"
    return "a smaller model is needed, or a machine with more memory"


def _context_warnings(info: ModelInfo, plans: Sequence[TargetPlan]) -> Iterator[str]:
    for target in (plan.target for plan in plans):
        if info.n_ctx_train and target.n_ctx > info.n_ctx_train:
            yield (
                f"target {target.name!r}: a context of {target.n_ctx} is more than the "
                f"{info.n_ctx_train} that the model was trained for"
            )


def _fallback_warnings(info: ModelInfo, plans: Sequence[TargetPlan]) -> Iterator[str]:
    sizes = {c.quant: c.size for plan in plans for c in plan.candidates if c.quant in plan.build}
    n_tensors = len(info.tensors)
    for quant in best_first(tuple(sizes)):
        size = sizes[quant]
        if size.fallback_tensors > MANY_FALLBACKS * n_tensors:
            yield (
                f"{quant} is not what its name says here: {size.fallback_tensors} of {n_tensors} "
                f"tensors have rows that its blocks don't divide and get a larger type; it comes "
                f"to {size.bits_per_weight:.2f} bits per weight, not about "
                f"{CATALOGUE[quant].bits_per_weight:.2f}"
            )


def _disk_warnings(disk: DiskPlan) -> Iterator[str]:
    if disk.needed_bytes > disk.free_bytes:
        yield (
            f"disk: up to {format_bytes(disk.needed_bytes)} are needed, "
            f"{format_bytes(disk.free_bytes)} are free"
        )
