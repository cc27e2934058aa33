"""A bar never contradicts the verdict, and its parts are in proportion."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deployq.report.bars import PARTS, legend, memory_bar, shares
from deployq.report.lines import text_of
from deployq.types import Memory, Target

GIB = 1 << 30
BYTES = st.integers(0, 1 << 40)


@given(
    weights=BYTES, kv=BYTES, compute=BYTES, memory=BYTES, reserve=BYTES, width=st.integers(10, 60)
)
def test_a_bar_never_contradicts_the_verdict(
    weights: int, kv: int, compute: int, memory: int, reserve: int, width: int
) -> None:
    used = Memory(weights, kv, compute)
    target = Target("t", "ram", memory, min(memory, reserve), 1)
    bar = text_of(memory_bar(used, target, width))
    assert len(bar) == width
    assert bar.count("│") == 1
    left, right = bar.split("│")
    beyond = any(character in right for character in "█▒+>")
    assert beyond == (used.total_bytes > target.budget_bytes)
    assert bar.endswith(">") == (used.total_bytes > memory)
    if used.total_bytes <= target.budget_bytes:
        assert set(right) <= {"/"}
        assert bool(left.strip("·")) == (used.total_bytes > 0 and len(left) > 0)


@given(sizes=st.lists(BYTES, min_size=1, max_size=5), cells=st.integers(0, 100))
def test_shares_add_up_and_are_near(sizes: list[int], cells: int) -> None:
    found = shares(sizes, cells)
    if sum(sizes):
        assert sum(found) == cells
        for size, count in zip(sizes, found, strict=True):
            assert abs(count - cells * size / sum(sizes)) < 1 + 1e-6


def test_parts_in_their_order() -> None:
    bar = memory_bar(Memory(4 * GIB, 2 * GIB, GIB), Target("t", "ram", 10 * GIB, 2 * GIB, 1), 11)
    assert text_of(bar) == "████▒▒+·│//"


def test_every_part_has_a_character_of_its_own_in_the_legend() -> None:
    assert len({part.character for part in PARTS}) == len(PARTS)
    shown = "█ weights   ▒ KV cache   + compute   · free   │ budget   / reserve   > beyond"
    assert text_of(legend()) == shown
