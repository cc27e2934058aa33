"""What a machine keeps for itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployq.plan.budgets import default_reserve, reserve_of
from deployq.types import Card, Hardware, MemoryKind

GB, GIB = 10**9, 1 << 30
KINDS: tuple[MemoryKind, ...] = ("ram", "vram", "unified")


@pytest.mark.parametrize("gib", [16, 24, 32, 64, 512])
def test_ram_keeps_what_the_lesson_says(gib: int) -> None:
    assert 4 * GB <= default_reserve("ram", gib * GIB) <= 6 * GB


def test_a_small_machine_keeps_half() -> None:
    assert default_reserve("ram", 8 * GIB) == 4 * GIB


@pytest.mark.parametrize(("gib", "usable"), [(8, 16 / 3), (36, 24), (48, 36), (192, 144)])
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
