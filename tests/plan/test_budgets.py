"""What a machine keeps for itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployq.plan.budgets import card_budgets, default_reserve, reserve_of, several
from deployq.types import Card, Hardware, MemoryKind

GB, GIB = 10**9, 1 << 30
KINDS: tuple[MemoryKind, ...] = ("ram", "vram", "unified")


@pytest.mark.parametrize("gib", [16, 24, 32, 64, 512])
def test_ram_keeps_what_the_lesson_says(gib: int) -> None:
    assert 4 * GB <= default_reserve("ram", gib * GIB) <= 6 * GB


def test_a_small_machine_keeps_half() -> None:
    assert default_reserve("ram", 8 * GIB) == 4 * GIB


@pytest.mark.parametrize(
    ("gib", "usable"),
    [(8, 16 / 3), (16, 32 / 3), (18, 12), (24, 16), (32, 64 / 3), (36, 27), (48, 36), (64, 48),
     (96, 72), (128, 96), (192, 144), (512, 384)],
)  # fmt: skip
def test_unified_memory_by_metals_rule(gib: int, usable: float) -> None:
    left = gib * GIB - default_reserve("unified", gib * GIB)
    assert left == pytest.approx(usable * GIB, abs=1)
    assert left <= usable * GIB


def test_a_card_keeps_a_drivers_share_whatever_its_size() -> None:
    assert default_reserve("vram", 8 * GIB) == default_reserve("vram", 80 * GIB)
    assert 555 << 20 < default_reserve("vram", 8 * GIB) < 1 << 30


@given(st.sampled_from(KINDS), st.integers(1, 1 << 50))
def test_something_is_kept_and_half_is_left(kind: MemoryKind, memory: int) -> None:
    assert 0 <= default_reserve(kind, memory) <= -(-memory // 2)


def test_a_profiler_that_knows_wins() -> None:
    assert reserve_of(Hardware("m", "unified", 64 * GIB, reserve_bytes=GIB)) == GIB
    assert reserve_of(Hardware("m", "unified", 64 * GIB, reserve_bytes=0)) == 0


def test_memory_in_use_counts_on_a_card_and_not_in_ram() -> None:
    card = Card("c", 24 * GIB, 20 * GIB)
    used = Hardware("c", "vram", 24 * GIB, 20 * GIB, cards=(card,))
    assert reserve_of(used) == 4 * GIB + default_reserve("vram", 24 * GIB)
    busy = Hardware("pc", "ram", 16 * GIB, GIB)
    assert reserve_of(busy) == default_reserve("ram", 16 * GIB)


def test_a_mac_that_was_written_down_in_decimal_gigabytes() -> None:
    """memory = "36GB" is less than 36 GiB, and still no Mac with 32."""
    assert default_reserve("unified", 36 * GB) == 9 * GB


def test_several_cards_keep_a_reserve_each() -> None:
    one = Hardware("RTX", "vram", 24 * GIB, bandwidth_bytes_per_second=1e12)
    two = several(one, 2)
    assert (two.name, two.memory_bytes) == ("2 x RTX", 48 * GIB)
    assert two.bandwidth_bytes_per_second == 1e12
    assert reserve_of(two) == 2 * reserve_of(one)
    assert card_budgets(two) == (24 * GIB - reserve_of(one),) * 2
    assert card_budgets(two, 3 * GIB) == (21 * GIB, 21 * GIB)
    assert card_budgets(one) == ()
    assert several(one, 1) == one


def test_cards_that_keep_more_for_themselves() -> None:
    """A preset with a reserve of its own (memory that corrects errors) has it on each card."""
    both = several(Hardware("A100", "vram", 80 * GIB, reserve_bytes=5 * GIB), 2)
    assert reserve_of(both) == 10 * GIB
    assert card_budgets(both) == (75 * GIB, 75 * GIB)


def test_what_is_in_use_counts_on_its_own_card() -> None:
    cards = (Card("A", 24 * GIB, 24 * GIB), Card("B", 24 * GIB, 12 * GIB))
    box = Hardware("2 x A", "vram", 48 * GIB, 36 * GIB, cards=cards)
    budgets = card_budgets(box)
    assert budgets[0] - budgets[1] == 12 * GIB
    assert sum(budgets) == 48 * GIB - reserve_of(box)
