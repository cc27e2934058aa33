"""Which quant goes to which machine: pure, from figures to a `Plan`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property

from deployq.errors import ConfigError, SourceError
from deployq.plan.advice import Situation, advice, why_not, worth_sharing
from deployq.plan.cards import over_cards
from deployq.plan.catalogue import (
    CATALOGUE,
    CEILINGS,
    NATIVE_QUANTS,
    best_first,
    common_of,
    exceeds,
)
from deployq.plan.disk import Place, ServerStore, disk_plan, shortage
from deployq.plan.memory import CPU_FIGURES, ONE_REQUEST, cache_problem, upper_bound_reason
from deployq.plan.offload import (
    OUTPUT_FIRST,
    Lookups,
    kept_bytes,
    layer_bytes,
    lookups,
    offload,
    repacked_copy_bytes,
    skipped_bytes,
)
from deployq.plan.quants import tensor_types
from deployq.plan.room import UNTRAINED_CONTEXT, MemoryOf, header_memory, largest_context
from deployq.plan.speed import SpeedOf, estimator
from deployq.records import dataclass
from deployq.serving import DEFAULT_BATCH, ONE_AT_A_TIME
from deployq.types import (
    Candidate,
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

SizeOf = Callable[[str], QuantSize]


@dataclass(frozen=True)
class _Planning:
    """What stays the same over all targets."""

    info: ModelInfo
    size_of: SizeOf
    memory_on: Callable[[Target], MemoryOf]
    types_of: Callable[[str], Sequence[str]]
    lookups_of: Callable[[str], Lookups]
    skipped_of: Callable[[str], int]
    layers_of: Callable[[str], Sequence[int]]
    kept_of: Callable[[Target, int], Sequence[int]]
    speed_of: SpeedOf
    imatrix: bool = False

    def memory_for(self, target: Target) -> MemoryOf:
        """A quant's memory on a target: of a card, what lies on it."""
        memory_of = self.memory_on(target)

        def loaded(size: QuantSize, n_ctx: int, cache_type: str) -> Memory:
            memory = memory_of(size, n_ctx, cache_type)
            skipped = 0 if target.drafts else self.skipped_of(size.quant)
            return replace(memory, weights_bytes=memory.weights_bytes - skipped)

        def twice(size: QuantSize, n_ctx: int, cache_type: str) -> Memory:
            return self.lookups_of(size.quant).twice(loaded(size, n_ctx, cache_type))

        def on_cards(size: QuantSize, n_ctx: int, cache_type: str) -> Memory:
            memory = self.lookups_of(size.quant).beside(loaded(size, n_ctx, cache_type))
            if len(target.cards) < 2:
                return memory
            there = replace(target, n_ctx=n_ctx, cache_type=cache_type)
            kept = self.kept_of(there, memory.n_batch or DEFAULT_BATCH)
            return over_cards(self.layers_of(size.quant), kept, memory, target.cards)

        if target.kind == "vram":
            return on_cards
        output_first = target.kind == "ram" and self.info.architecture in OUTPUT_FIRST
        return twice if output_first else loaded

    @cached_property
    def common(self) -> list[QuantSize]:
        """The catalogue's common quants, those left out that this source can't become."""
        names = common_of(self.info.dtype)
        sizes = [size for name in names if (size := self._size_or_none(name)) is not None]
        return [size for size in sizes if not self.outgrows(size)]

    def outgrows(self, size: QuantSize) -> bool:
        """Whether a quant is larger than the one that keeps the weights as they were trained."""
        native = NATIVE_QUANTS.get(self.info.dtype)
        if native is None or size.quant == native:
            return False
        return size.file_bytes >= self.size_of(native).file_bytes

    @cached_property
    def bound(self) -> str:
        """Why memory is no more than an upper bound; empty where it is a prediction."""
        return upper_bound_reason(self.info)

    def _size_or_none(self, quant: str) -> QuantSize | None:
        try:
            return self.size_of(quant)
        except SourceError:
            return None


def make_plan(
    model: str,
    info: ModelInfo,
    targets: Sequence[Target],
    size_of: SizeOf,
    *,
    artifacts: Place,
    stores: Mapping[str | None, ServerStore] | None = None,
    cached: frozenset[str] = frozenset(),
    conversions: Sequence[tuple[str, int]] = (),
    memory_of: MemoryOf | None = None,
    imatrix: bool = False,
) -> Plan:
    """Weigh every candidate against every target and choose.

    Args:
        model: the model's name.
        info: what its header says.
        targets: the machines, fully resolved.
        size_of: the exact size of a quant of this model; `SourceError` where it can't be made.
        artifacts: where artifacts go, and what is free there.
        stores: by a target's host, where that server keeps its models.
        cached: quants whose artifact is there already.
        conversions: what is written before anything is quantized, with its bytes.
        memory_of: (size, n_ctx, cache type) -> memory; None: from the header.
        imatrix: the model has an importance matrix.

    Raises:
        ConfigError: a quant that was asked for needs an importance matrix, or is more precise
            than the source.
        SourceError: a quant that was asked for can't be made of this model.
    """
    types_of = cache(lambda quant: tensor_types(info, quant)[0])
    planning = _Planning(
        info,
        cache(size_of),
        (lambda _: memory_of) if memory_of else header_memory(info),
        types_of,
        cache(lambda quant: lookups(info, types_of(quant))),
        cache(lambda quant: skipped_bytes(info, types_of(quant))),
        cache(lambda quant: layer_bytes(info, types_of(quant))),
        cache(lambda target, n_batch: kept_bytes(info, target, n_batch)),
        estimator(info, types_of),
        imatrix,
    )
    loaded = [as_loaded(info, target) for target in targets]
    plans = tuple(_plan_target(planning, target) for target in loaded)
    disk = disk_plan(_builds(planning, plans, stores or {}), artifacts, cached, conversions)
    warnings = (
        *info.warnings,
        *_bound_warnings(planning),
        *_context_warnings(info, loaded),
        *_parallel_warnings(info, targets),
        *_cache_warnings(info, plans),
        *_fallback_warnings(info, plans),
        *(shortage(fs) for fs in disk.filesystems if fs.needed_bytes > fs.free_bytes),
    )
    cards = any(plan.target.kind != "ram" for plan in plans)
    assumed = any(plan.target.serving.parallel_by == "assumed" for plan in plans)
    notes = (
        *info.notes,
        *filter(None, [info.estimate]),
        *([CPU_FIGURES] if cards else []),
        *([ONE_REQUEST] if assumed else []),
        *_repacking_notes(planning, plans),
    )
    return Plan(model, info, plans, disk, warnings, bool(planning.bound), notes)


def _repacking_notes(planning: _Planning, plans: Sequence[TargetPlan]) -> Iterator[str]:
    """Which processor a target has isn't known; what some of them take more is said once."""
    in_ram = {plan.chosen for plan in plans if plan.target.kind == "ram" and plan.chosen}
    more = {q: repacked_copy_bytes(planning.info, planning.types_of(q)) for q in in_ram}
    if more and (largest := max(more.values())):
        yield (
            "on ARM and with AMX llama.cpp repacks weights, and an embedding that is the output "
            f"too lies in RAM twice there: up to {format_bytes(largest)} more, which is not planned"
        )


def _builds(
    planning: _Planning,
    plans: Sequence[TargetPlan],
    stores: Mapping[str | None, ServerStore],
) -> dict[ServerStore, list[QuantSize]]:
    """What goes to each server; of one that nobody described, only that it has a copy."""
    builds: dict[ServerStore, dict[str, QuantSize]] = {}
    for plan in plans:
        host = plan.target.host
        store = stores.get(host) or ServerStore(host or "the server", None)
        held = builds.setdefault(store, {})
        held |= {quant: planning.size_of(quant) for quant in plan.build}
    return {store: list(held.values()) for store, held in builds.items()}


def _plan_target(planning: _Planning, target: Target) -> TargetPlan:
    sizes = _asked(planning, target) if target.quants else planning.common
    candidates = tuple(_weigh(planning, target, size) for size in sizes)
    chosen = _choose(target, candidates)
    situation = Situation(
        planning.info,
        target,
        candidates,
        chosen,
        planning.memory_for(target),
        lambda: planning.common,
    )
    situation = _with_offload(planning, situation)
    candidates, advised = situation.candidates, advice(situation)
    if chosen is None:
        return TargetPlan(target, candidates, None, why_not(situation), (), advised)
    fitting = tuple(c.quant for c in candidates if c.verdict != "no")
    build = fitting if target.quants else (chosen.quant,)
    why = _why(target, chosen, planning.info.dtype)
    return TargetPlan(target, candidates, chosen.quant, why, build, advised)


def _asked(planning: _Planning, target: Target) -> list[QuantSize]:
    """The sizes of the quants that a target names, each checked."""
    for name in target.quants:
        if CATALOGUE[name].needs_imatrix and not planning.imatrix:
            raise ConfigError(
                f"target {target.name!r}: {name} needs an importance matrix",
                hint='write imatrix = "suite" (or a file) for the model, or give --imatrix suite; '
                "Q2_K and Q3_K_M need none",
            )
        if exceeds(name, planning.info.dtype):
            raise ConfigError(
                f"target {target.name!r}: {name} holds more than the source, whose weights are "
                f"{planning.info.dtype}",
                hint=f"choose {planning.info.dtype} or smaller",
            )
    sizes = [planning.size_of(name) for name in dict.fromkeys(target.quants)]
    if larger := next((size for size in sizes if planning.outgrows(size)), None):
        native = planning.size_of(NATIVE_QUANTS[planning.info.dtype])
        raise ConfigError(
            f"target {target.name!r}: {larger.quant} would be {format_bytes(larger.file_bytes)}; "
            f"{native.quant}, in which the model was trained, is {format_bytes(native.file_bytes)} "
            "and loses nothing",
            hint=f"--quants {native.quant}",
        )
    return sizes


def _weigh(planning: _Planning, target: Target, size: QuantSize) -> Candidate:
    memory_of = planning.memory_for(target)
    memory = memory_of(size, target.n_ctx, target.cache_type)
    verdict = judge(memory.total_bytes, target.budget_bytes)
    reason = _reason(memory, target.budget_bytes, verdict)
    limit = planning.info.n_ctx_train or max(UNTRAINED_CONTEXT, target.n_ctx)
    return Candidate(
        size,
        memory,
        verdict,
        f"{reason}; {planning.bound}" if planning.bound else reason,
        speed=planning.speed_of(target, size, memory) if verdict != "no" else None,
        max_context=largest_context(memory_of, size, target.cache_type, target.budget_bytes, limit),
    )


def _with_offload(planning: _Planning, situation: Situation) -> Situation:
    """The situation, with what the card would hold of the quant that is worth sharing with RAM."""
    large = worth_sharing(situation)
    if large is None:
        return situation
    target = situation.target
    layers = planning.layers_of(large.quant)
    kept = planning.kept_of(target, large.memory.n_batch or DEFAULT_BATCH)
    shared = replace(large, offload=offload(layers, kept, large.memory, target))
    candidates = tuple(shared if c is large else c for c in situation.candidates)
    return replace(situation, candidates=candidates)


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
        + (f" on {memory.cards} cards" if memory.cards > 1 else "")
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
        return undominated(below[0], candidates)
    return fitting[-1] if target.quants else None


def undominated(candidate: Candidate, candidates: Sequence[Candidate]) -> Candidate:
    """The best of the candidates that are no larger than this one: itself, as a rule.

    Where rows aren't a multiple of 256, fallback types make some quants larger than better ones.
    """
    no_larger = [
        c
        for c in candidates
        if c.size.file_bytes <= candidate.size.file_bytes
        and c.memory.total_bytes <= candidate.memory.total_bytes
    ]
    return max(no_larger, key=lambda c: CATALOGUE[c.quant].rank)


def _why(target: Target, chosen: Candidate, dtype: str) -> str:
    budget, total = format_bytes(target.budget_bytes), format_bytes(chosen.memory.total_bytes)
    tight = ", tightly" if chosen.verdict == "tight" else ""
    fit = f"{total} of {budget} at a context of {target.n_ctx}{_spread(target, chosen.memory)}"
    if target.quants and not target.goal_given:
        return f"{chosen.quant} is the best of the quants asked for that fits{tight}: {fit}"
    if chosen.quant == NATIVE_QUANTS.get(dtype):
        return f"{chosen.quant} keeps the weights as they were trained, and it fits{tight}: {fit}"
    ceiling = CEILINGS[target.goal]
    if CATALOGUE[chosen.quant].rank > CATALOGUE[ceiling].rank and not target.quants:
        return (
            f"the goal {target.goal!r} asks for {ceiling}; of this model {chosen.quant} is no "
            f"larger and better, and it fits{tight}: {fit}"
        )
    if chosen.quant == ceiling:
        return (
            f"{chosen.quant} is what the goal {target.goal!r} asks for, and it fits{tight}: {fit}"
        )
    among = "of the quants asked for " if target.quants else ""
    return (
        f"the goal {target.goal!r} asks for {ceiling}; {chosen.quant} is the nearest {among}"
        f"that fits{tight}: {fit}"
    )


def _spread(target: Target, memory: Memory) -> str:
    """How a model lies on several cards, and what that costs."""
    if len(target.cards) < 2:
        return ""
    if memory.cards == 1:
        return f"; one of the {len(target.cards)} cards holds it all"
    each = (memory.compute_bytes - memory.unused_bytes) // memory.cards
    return (
        f"; {memory.cards} cards hold whole layers each: {format_bytes(each)} for computing is "
        f"needed on every one, and {format_bytes(memory.unused_bytes)} stay empty"
    )


def _bound_warnings(planning: _Planning) -> Iterator[str]:
    if planning.bound:
        yield f"memory is {planning.bound}; it may need much less"


def as_loaded(info: ModelInfo, target: Target) -> Target:
    """The target as Ollama loads the model there, whatever was asked for.

    It takes no larger context than the model was trained for (`NewLlamaServer` in llm/server.go),
    and serves some architectures one request at a time.
    """
    alone = info.architecture in ONE_AT_A_TIME
    serving = replace(target.serving, parallel=1) if alone else target.serving
    return replace(target.within(info.n_ctx_train), serving=serving)


def _parallel_warnings(info: ModelInfo, asked: Sequence[Target]) -> Iterator[str]:
    several = any(target.serving.parallel > 1 for target in asked)
    if several and info.architecture in ONE_AT_A_TIME:
        yield (
            f"Ollama serves the architecture {info.architecture!r} one request at a time, "
            "whatever OLLAMA_NUM_PARALLEL says: so it is planned"
        )


def _context_warnings(info: ModelInfo, loaded: Sequence[Target]) -> Iterator[str]:
    names: dict[int, list[str]] = {}
    for target in loaded:
        if target.asked_ctx is not None:
            names.setdefault(target.asked_ctx, []).append(repr(target.name))
    for n_ctx, those in names.items():
        yield (
            f"target{'s' if len(those) > 1 else ''} {', '.join(those)}: Ollama loads the model "
            f"with a context of {info.n_ctx_train}, not {n_ctx}: it takes no more than the model "
            "was trained for"
        )


def _cache_warnings(info: ModelInfo, plans: Sequence[TargetPlan]) -> Iterator[str]:
    targets = (plan.target for plan in plans)
    asked = ((target.cache_type, target.serving.flash_attention) for target in targets)
    for cache_type, flash_attention in dict.fromkeys(asked):
        if problem := cache_problem(info, cache_type, flash_attention):
            yield f"llama.cpp will not load this model with a {cache_type} cache: {problem}"


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
