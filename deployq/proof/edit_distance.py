"""How alike two texts are; the library is imported when a check asks for it."""

from __future__ import annotations

from rapidfuzz.distance import Levenshtein


def similarity(one: str, other: str) -> float:
    """Edit distance (Levenshtein), as the share of the longer text that stays; 0 to 1."""
    return Levenshtein.normalized_similarity(one, other)
