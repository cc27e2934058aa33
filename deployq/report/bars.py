"""A candidate's memory as one bar against its target's: each part has a character of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from deployq.records import dataclass
from deployq.report.lines import Line
from deployq.types import Memory, Target


@dataclass(frozen=True)
class Part:
    """One part of a bar: what it stands for, its character, and its style."""

    name: str
    character: str
    style: str


WEIGHTS = Part("weights", "█", "cyan")
KV_CACHE = Part("KV cache", "▒", "blue")
COMPUTE = Part("compute", "+", "magenta")
FREE = Part("free", "·", "dim")
BUDGET = Part("budget", "│", "bold")
RESERVE = Part("reserve", "/", "dim")
PARTS = (WEIGHTS, KV_CACHE, COMPUTE, FREE, BUDGET, RESERVE)
BEYOND = Part("beyond", ">", "red")
"""The last character of a bar whose memory is more than the whole machine has."""


def memory_bar(memory: Memory, target: Target, width: int) -> Line:
    """The bar of a candidate on its target, `width` characters long.

    The whole bar is the machine's memory; the budget ends at its mark. It never lies about the
    verdict: what fits ends before the mark, what doesn't reaches beyond it.
    """
    cells = max(width - 1, 2)  # the budget's mark takes one
    limit, used = _limit(target, cells), _used(memory, target, cells)
    sizes = (memory.weights_bytes, memory.kv_cache_bytes, memory.compute_bytes)
    counts = zip((WEIGHTS, KV_CACHE, COMPUTE), shares(sizes, used), strict=True)
    filled = [part for part, count in counts for _ in range(count)]
    row = [*filled, *[FREE] * (limit - len(filled))]
    row += [RESERVE] * (cells - len(row))
    row.insert(limit, BUDGET)
    if memory.total_bytes > target.memory_bytes:
        row[-1] = BEYOND
    return tuple((part.character * len(list(run)), part.style) for part, run in groupby(row))


def legend() -> Line:
    """What the characters of a bar mean."""
    return (("   ".join(f"{part.character} {part.name}" for part in (*PARTS, BEYOND)), "dim"),)


def shares(sizes: Sequence[int], cells: int) -> list[int]:
    """`cells` shared out in proportion to `sizes`; what is left over goes to the largest rests."""
    whole = sum(sizes) or 1
    exact = [cells * size / whole for size in sizes]
    counts = [int(share) for share in exact]
    by_rest = sorted(range(len(sizes)), key=lambda i: counts[i] - exact[i])
    for i in by_rest[: cells - sum(counts)]:
        counts[i] += 1
    return counts


def _limit(target: Target, cells: int) -> int:
    """Where the budget ends; at least one cell is left behind it."""
    return min(round(cells * target.budget_bytes / max(target.memory_bytes, 1)), cells - 1)


def _used(memory: Memory, target: Target, cells: int) -> int:
    """Cells that the memory fills: at most the budget's if it fits, more if it doesn't."""
    limit = _limit(target, cells)
    used = round(cells * memory.total_bytes / max(target.memory_bytes, 1))
    if memory.total_bytes <= target.budget_bytes:
        return min(max(used, memory.total_bytes > 0), limit)
    return min(max(used, limit + 1), cells)
