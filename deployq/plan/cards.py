"""A model on several cards: whole layers on each, as Ollama and llama.cpp spread them.

Ollama takes one card where the whole model fits it, else all of them (0.34: server/sched.go).
llama.cpp gives each card a run of whole layers, the output with the last ones (b11434:
`load_tensors` in src/llama-model.cpp, common/fit.cpp), and a compute buffer of its own. So a card
stays empty by up to a layer, which the model needs of the cards together. What pipeline
parallelism adds to the compute buffers was not measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deployq.types import Memory


def over_cards(
    layers: Sequence[int], kept: Sequence[int], memory: Memory, cards: Sequence[int]
) -> Memory:
    """The memory that a model takes of several cards; more than all of it: it doesn't fit.

    Args:
        layers: weights per layer, as `layer_bytes` gives them; the output is the last.
        kept: what each layer keeps from token to token, as `kept_bytes` gives it.
        memory: of the model on one card.
        cards: bytes that a model may have of each.
    """
    if not cards or memory.total_bytes <= max(cards):
        return memory
    projector = max(0, memory.weights_bytes - sum(layers))  # of no layer, on the first card
    used, unused, left = 0, 0, 0
    waiting = _with_cache(layers, kept, memory.kv_cache_bytes)[::-1]
    for number, card in enumerate(cards):
        unused += left
        left = card - memory.compute_bytes - (0 if used else projector)
        if left <= 0 and number + 1 < len(cards):
            left = card
            continue
        used += 1
        while waiting and waiting[-1] <= left:
            left -= waiting.pop()
        if not waiting:
            break
    return replace(
        memory, compute_bytes=used * memory.compute_bytes + unused, cards=used, unused_bytes=unused
    )


def _with_cache(layers: Sequence[int], kept: Sequence[int], cache_bytes: int) -> list[int]:
    """Bytes of each layer with its share of the whole cache; the output keeps nothing."""
    whole = sum(kept)
    shares = [n * cache_bytes // whole if whole else 0 for n in kept]
    shares += [0] * (len(layers) - len(shares))
    return [n + share for n, share in zip(layers, shares, strict=False)]
