"""What else could be had on a target, and what it takes, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from deployq.plan.architectures import prediction_layers
from deployq.plan.catalogue import CATALOGUE, CEILINGS, best_first
from deployq.plan.figures import Figures
from deployq.plan.memory import cache_problem
from deployq.plan.room import MemoryOf, growth
from deployq.records import dataclass
from deployq.types import Candidate, ModelInfo, Offload, QuantSize, Target
from deployq.units import format_bytes

SMALLER_CACHE = "q8_0"
"""The cache type that is offered: half the bytes of f16, at next to no loss."""

SERVER_CACHE_TYPES = ("f16", "q8_0", "q4_0")
"""What OLLAMA_KV_CACHE_TYPE takes (Ollama 0.34, docs/faq); keys and values always alike."""

SMALLEST_USEFUL_CONTEXT = 1024
_NOTICEABLY_LARGER = 1.1
_NOTICEABLY_SLOWER = 1.5


@dataclass(frozen=True)
class Situation:
    """One target after its candidates were weighed."""

    info: ModelInfo
    target: Target
    candidates: tuple[Candidate, ...]
    chosen: Candidate | None
    memory_of: MemoryOf
    common: Callable[[], Sequence[QuantSize]]

    def fits(self, size: QuantSize, n_ctx: int, cache_type: str) -> bool:
        needed = self.memory_of(size, n_ctx, cache_type).total_bytes
        return needed <= self.target.budget_bytes


def worth_sharing(situation: Situation) -> Candidate | None:
    """The best candidate that is wanted but too large for the card; None where there is none."""
    large = [c for c in situation.candidates if c.verdict == "no" and _wanted(situation, c)]
    if situation.target.kind != "vram" or not large:
        return None
    return max(large, key=lambda c: CATALOGUE[c.quant].rank)


def advice(situation: Situation) -> tuple[str, ...]:
    """Sentences about one target: context, growth, cache type, a card that is too small."""
    parts = (_context, _growth, _cache, _server_cache, _serving, _drafts, _offload)
    return tuple(sentence for part in parts for sentence in part(situation))


def why_not(situation: Situation) -> str:
    """Why nothing was chosen: what is missing, and the first thing that would help."""
    target, candidates = situation.target, situation.candidates
    if not candidates:
        return f"no quant can be made of weights that are {situation.info.dtype}"
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
    return f"{said}; {_help(situation, smallest)}"


def server_variables(cache_type: str) -> str:
    """What an Ollama server must be started with to have a KV cache of this type."""
    return f"OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE={cache_type}"


# ---------------------------------------------------------------- what would help


def _help(situation: Situation, candidate: Candidate) -> str:
    """Changes that make the smallest candidate fit, the gentlest first."""
    target, smallest, ideas = situation.target, candidate.size, []
    if _may_shrink(situation) and situation.fits(smallest, target.n_ctx, SMALLER_CACHE):
        ideas.append(f'cache_type = "{SMALLER_CACHE}"')
    if (candidate.max_context or 0) >= SMALLEST_USEFUL_CONTEXT:
        ideas.append(f"a context of {candidate.max_context}")
    smaller = [size for size in situation.common() if size.file_bytes < smallest.file_bytes]
    for size in sorted(smaller, key=lambda s: -s.file_bytes):
        if situation.fits(size, target.n_ctx, target.cache_type):
            ideas.append(f"the smaller quant {size.quant}")
            break
    if ideas:
        return f"what would help: {' or '.join(ideas)}"
    return "a smaller model is needed, or a machine with more memory"


# ---------------------------------------------------------------- what else could be had


def _context(situation: Situation) -> Iterator[str]:
    """The largest context of the chosen quant, where it is more than was asked for."""
    chosen, target, trained = situation.chosen, situation.target, situation.info.n_ctx_train
    if chosen is None or chosen.max_context is None or chosen.max_context <= target.n_ctx:
        return
    whole = ", all that it was trained for" if chosen.max_context == trained else ""
    yield f"{chosen.quant} has room for a context of up to {chosen.max_context}{whole}"


def _growth(situation: Situation) -> Iterator[str]:
    """Which quant to take when the model grows."""
    chosen, budget = situation.chosen, situation.target.budget_bytes
    if chosen is None:
        return
    times = growth(chosen.memory, budget)
    below = [c for c in situation.candidates if _below(c, chosen)]
    further = best_first(tuple(c.quant for c in below))[-1:]
    more = [
        c
        for c in below
        if c.quant in further and growth(c.memory, budget) >= _NOTICEABLY_LARGER * times
    ]
    text = f"if the model grows: {chosen.quant} fits up to {_larger(times, situation.info)}"
    if times < _NOTICEABLY_LARGER:
        text = f"if the model grows: {chosen.quant} has no room for a larger one"
    if more:
        smallest = more[0]
        text += f", {smallest.quant} up to {_larger(growth(smallest.memory, budget), None)}"
    yield text


def _below(candidate: Candidate, chosen: Candidate) -> bool:
    return CATALOGUE[candidate.quant].rank < CATALOGUE[chosen.quant].rank


def _larger(times: float, info: ModelInfo | None) -> str:
    """A factor for people, cut off so that it never promises too much."""
    cut = int(times * 10) / 10 if times < 10 else int(times)
    of = f" its size ({_billions(cut * info.n_params)} parameters)" if info else ""
    return f"{cut:g} times{of}"


def _billions(n_params: float) -> str:
    return f"{n_params / 1e9:.1f}B" if n_params >= 1e9 else f"{n_params / 1e6:.0f}M"


def _cache(situation: Situation) -> Iterator[str]:
    """A smaller cache type, where it lets a better quant in, or any at all."""
    target = situation.target
    if not _may_shrink(situation):
        return
    saved = [c for c in situation.candidates if _saved_by_cache(situation, c)]
    if not saved:
        return
    best = max(saved, key=lambda c: CATALOGUE[c.quant].rank)
    kv_bytes = situation.memory_of(best.size, target.n_ctx, SMALLER_CACHE).kv_cache_bytes
    yield (
        f"{best.quant} would fit with a KV cache of type {SMALLER_CACHE} "
        f"({format_bytes(kv_bytes)} instead of {format_bytes(best.memory.kv_cache_bytes)}): "
        f"plan with --cache-type {SMALLER_CACHE}, and start the server with "
        f"{server_variables(SMALLER_CACHE)}, which counts for every model on it"
    )


def _may_shrink(situation: Situation) -> bool:
    """Whether a smaller cache type can be had, by the target and by the model."""
    if situation.target.cache_type != "f16":
        return False
    flash_attention = situation.target.serving.flash_attention
    return not cache_problem(situation.info, SMALLER_CACHE, flash_attention)


def _saved_by_cache(situation: Situation, candidate: Candidate) -> bool:
    """Whether a candidate that is wanted, but does not fit, would with the smaller cache."""
    target = situation.target
    if candidate.verdict != "no" or not _wanted(situation, candidate):
        return False
    return situation.fits(candidate.size, target.n_ctx, SMALLER_CACHE)


def _wanted(situation: Situation, candidate: Candidate) -> bool:
    """Whether it was named, or the goal allows it and it is better than what was chosen."""
    target, chosen = situation.target, situation.chosen
    if target.quants:
        return True
    rank = CATALOGUE[candidate.quant].rank
    allowed = rank <= CATALOGUE[CEILINGS[target.goal]].rank
    return allowed and (chosen is None or rank > CATALOGUE[chosen.quant].rank)


def _server_cache(situation: Situation) -> Iterator[str]:
    """The server's part in a cache type that isn't its default."""
    cache_type = situation.target.cache_type
    if cache_type == "f16":
        return
    if cache_type not in SERVER_CACHE_TYPES:
        yield (
            f"Ollama can't set a KV cache of type {cache_type}: it knows "
            f"{', '.join(SERVER_CACHE_TYPES)}, the same for keys and values; llama-server can"
        )
        return
    yield (
        f"counts on a KV cache of type {cache_type}: start the server with "
        f"{server_variables(cache_type)}; its API doesn't show whether it was"
    )


def _serving(situation: Situation) -> Iterator[str]:
    """The server's part in parallel requests, and what flash attention would save."""
    target, chosen = situation.target, situation.chosen
    if target.serving.parallel > 1:
        yield (
            f"counts on {target.serving.parallel} requests at a time, each with a context of its "
            f"own: start the server with OLLAMA_NUM_PARALLEL={target.serving.parallel}; its API "
            "doesn't show whether it was"
        )
    if chosen is not None and not target.serving.flash_attention:
        yield (
            "counts on a server without flash attention, whose compute buffers take "
            f"{format_bytes(chosen.memory.compute_bytes)}: with it they are much smaller"
        )


def _drafts(situation: Situation) -> Iterator[str]:
    """What drafting with the model's own layers takes, as far as it is counted."""
    layers = prediction_layers(Figures(situation.info))
    if situation.target.drafts and layers:
        yield (
            f"draft_num_predict has Ollama load the model's {len(layers)} layers for predicting "
            "further tokens, too: their weights are counted, the cache and buffers of drafting "
            "are not"
        )


def _offload(situation: Situation) -> Iterator[str]:
    """What a card holds of the best wanted quant that is too large for it."""
    wanted = next((c for c in situation.candidates if c.offload), None)
    if wanted is None or (split := wanted.offload) is None:
        return
    yield (
        f"{wanted.quant} shared with RAM (estimate): {split.gpu_layers} of {split.layers} layers "
        f"on the card ({format_bytes(split.vram_bytes)}), {format_bytes(split.ram_bytes)} in RAM; "
        f"{_slower(split)}"
    )


def _slower(split: Offload) -> str:
    if split.slowdown and split.slowdown >= _NOTICEABLY_SLOWER:
        return f"about {split.slowdown:.0f} times slower"
    return "slower, as RAM is read at a fraction of a card's speed"
