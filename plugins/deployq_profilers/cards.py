"""Cards of one maker together: llama.cpp and Ollama spread a model's layers over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from deployq import Card, Hardware


class FoundCard(NamedTuple):
    """A card, and how fast it reads its memory where that is known."""

    card: Card
    bandwidth_bytes_per_second: float | None = None


def together(found: Sequence[FoundCard], source: str) -> Hardware | None:
    """All cards as one machine; None where there is none.

    Layers are spread by memory and computed one card after the other, so the time of a token is
    the sum over the cards: the bandwidth is their harmonic mean, weighted by memory.
    """
    if not found:
        return None
    cards = tuple(one.card for one in found)
    counted = Counter(card.name for card in cards)
    memory = sum(card.memory_bytes for card in cards)
    seconds = [
        one.card.memory_bytes / one.bandwidth_bytes_per_second
        for one in found
        if one.bandwidth_bytes_per_second
    ]
    return Hardware(
        " + ".join(f"{n} x {name}" if n > 1 else name for name, n in counted.items()),
        "vram",
        memory,
        sum(card.available_bytes for card in cards),
        bandwidth_bytes_per_second=memory / sum(seconds) if len(seconds) == len(cards) else None,
        source=source,
        cards=cards,
    )
