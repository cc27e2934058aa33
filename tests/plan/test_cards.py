"""A model on several cards: whole layers on each."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.plan.cards import over_cards
from deployq.plan.disk import Place
from deployq.plan.explain import explain
from deployq.plan.planner import make_plan
from deployq.plan.quants import own_size
from deployq.types import Memory, ModelInfo, Plan, Target
from tests.plan.conftest import Oracle

GIB = 1 << 30
LAYERS = st.lists(st.integers(1, 50), min_size=1, max_size=40)


def fits(layers: list[int], compute: int, cards: list[int]) -> bool:
    """By trying every way to cut the layers into runs, one for each card."""

    @cache
    def from_card(card: int, first: int) -> bool:
        if first == len(layers):
            return True
        if card == len(cards):
            return False
        if from_card(card + 1, first):
            return True
        room = cards[card] - compute
        for last in range(first, len(layers)):
            room -= layers[last]
            if room < 0:
                return False
            if from_card(card + 1, last + 1):
                return True
        return False

    return from_card(0, 0)


@settings(max_examples=300, deadline=None)
@given(
    layers=LAYERS,
    compute=st.integers(0, 40),
    cards=st.lists(st.integers(1, 300), min_size=2, max_size=4),
)
def test_it_fits_if_there_is_any_way_to_lay_it_out(
    layers: list[int], compute: int, cards: list[int]
) -> None:
    memory = over_cards(layers, [], Memory(sum(layers), 0, compute), cards)
    assert (memory.total_bytes <= sum(cards)) == fits(layers, compute, cards)
    assert memory.cards <= len(cards)
    assert memory.unused_bytes >= 0


@given(layers=LAYERS, kept=LAYERS, compute=st.integers(0, 40), card=st.integers(1, 4000))
def test_a_model_that_one_card_holds_lies_on_it(
    layers: list[int], kept: list[int], compute: int, card: int
) -> None:
    alone = Memory(sum(layers), sum(kept[: len(layers) - 1]), compute)
    spread = over_cards(layers, kept, alone, [1, card])
    if alone.total_bytes <= card:
        assert spread == alone
    else:
        assert spread.total_bytes > card


@pytest.fixture(scope="module")
def llama(oracle: Callable[[str], Oracle]) -> ModelInfo:
    return oracle("llama-2-70b").info


def plan(info: ModelInfo, cards: tuple[int, ...], n_ctx: int = 4096) -> Plan:
    memory = sum(cards)
    target = Target("box", "vram", memory, 0, n_ctx, cards=cards if len(cards) > 1 else ())
    return make_plan("m", info, [target], partial(own_size, info), artifacts=Place(1 << 50))


def test_two_cards_hold_what_one_does_not(llama: ModelInfo) -> None:
    alone, both = (plan(llama, (23 * GIB,) * n).targets[0] for n in (1, 2))
    assert alone.chosen is None
    assert both.chosen == "Q4_K_M"
    chosen = next(c for c in both.candidates if c.quant == "Q4_K_M")
    whole = next(c for c in plan(llama, (46 * GIB,)).targets[0].candidates if c.quant == "Q4_K_M")
    assert chosen.memory.cards == 2
    assert chosen.memory.weights_bytes == whole.memory.weights_bytes
    each = whole.memory.compute_bytes
    assert chosen.memory.compute_bytes == 2 * each + chosen.memory.unused_bytes
    assert "2 cards hold whole layers each" in both.why
    assert "on 2 cards" in chosen.reason


def test_a_layer_is_not_split(llama: ModelInfo) -> None:
    """Less than a layer is missing on each of four cards: one memory of that size would do."""
    one = plan(llama, (80 * GIB,)).targets[0]
    total = next(c for c in one.candidates if c.quant == "Q4_K_M").memory
    budget = total.total_bytes + 3 * total.compute_bytes + (100 << 20)
    verdicts = {
        n: next(
            c.verdict
            for c in plan(llama, (budget // n,) * n).targets[0].candidates
            if c.quant == "Q4_K_M"
        )
        for n in (1, 4)
    }
    assert verdicts == {1: "tight", 4: "no"}


def test_a_small_model_takes_one_card(llama: ModelInfo) -> None:
    target = plan(llama, (48 * GIB, 48 * GIB)).targets[0]
    assert "one of the 2 cards holds it all" in target.why


@pytest.mark.parametrize("cards", [(23 * GIB,) * 2, (24 * GIB, 11 * GIB, 11 * GIB), (6 * GIB,) * 8])
def test_the_largest_context_is_the_largest(llama: ModelInfo, cards: tuple[int, ...]) -> None:
    found = plan(llama, cards, 256).targets[0]
    for candidate in found.candidates:
        room = candidate.max_context or 0
        for n_ctx, verdicts in ((room, ("fits", "tight")), (room + 256, ("no",))):
            if 256 <= n_ctx <= (llama.n_ctx_train or 0):
                again = plan(llama, cards, n_ctx).targets[0].candidates
                verdict = next(c.verdict for c in again if c.quant == candidate.quant)
                assert verdict in verdicts, (candidate.quant, n_ctx)


def test_the_terms_of_several_cards_add_up(llama: ModelInfo) -> None:
    made = plan(llama, (23 * GIB,) * 2)
    one = explain(made, made.targets[0], "Q4_K_M")
    assert sum(term.term_bytes for term in one.compute) == one.candidate.memory.compute_bytes
    assert {"other cards", "whole layers"} <= {term.what for term in one.compute}
