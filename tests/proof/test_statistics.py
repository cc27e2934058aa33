"""Intervals that cover what they should, decisions that follow from them."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.proof.statistics import (
    decide,
    mcnemar,
    paired_difference,
    paired_shares,
    ratio_estimate,
    wilson,
)
from deployq.types import Estimate

FIGURES = st.lists(st.tuples(st.floats(0, 5), st.integers(1, 40)), min_size=3, max_size=40)


@given(FIGURES)
@settings(max_examples=40, deadline=None)
def test_a_ratio_lies_in_its_interval_and_is_repeatable(pairs: list[tuple[float, int]]) -> None:
    sums, counts = [mean * n for mean, n in pairs], [n for _, n in pairs]
    found = ratio_estimate(sums, counts)
    assert found == ratio_estimate(sums, counts)
    assert found.value == pytest.approx(sum(sums) / sum(counts))
    assert found.low is not None
    assert found.high is not None
    least, most = min(m for m, _ in pairs), max(m for m, _ in pairs)
    assert least - 1e-9 <= found.low <= found.high <= most + 1e-9


def test_prompts_are_drawn_not_tokens() -> None:
    """The same tokens in few long answers are less certain than in many short ones."""
    rng = np.random.default_rng(1)
    per_prompt = rng.normal(1.0, 0.5, 200)
    short = ratio_estimate(per_prompt.tolist(), [1.0] * 200)
    # every value stands for a whole answer of ten equal tokens: no more is known than before
    long = ratio_estimate((per_prompt * 10).tolist(), [10.0] * 200)
    assert (short.low, short.high) == pytest.approx((long.low, long.high))


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """600 experiments with answers of different lengths and prompts of different hardness."""
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(600):
        hardness = rng.gamma(2.0, 0.5, 60)  # mean 1.0
        lengths = rng.integers(5, 40, 60)
        sums = [float(rng.exponential(h, n).sum()) for h, n in zip(hardness, lengths, strict=True)]
        found = ratio_estimate(sums, lengths.tolist())
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 1.0 <= found.high
    assert 0.90 <= hits / 600 <= 0.98  # 95 % stated; skewed figures of 60 prompts take some


def test_a_perplexity_is_the_exponential_of_a_mean() -> None:
    found = ratio_estimate([1.0, 2.0, 3.0], [1, 2, 3], exponential=True)
    assert found.value == pytest.approx(math.e)
    assert (found.low, found.high) == pytest.approx((math.e, math.e))


def test_two_prompts_have_no_interval() -> None:
    assert ratio_estimate([1.0, 2.0], [1, 1]) == Estimate(1.5)


@pytest.mark.parametrize("counts", [[], [0.0, 0.0]])
def test_nothing_to_count_is_an_error(counts: list[float]) -> None:
    with pytest.raises(ValueError, match="nothing to count"):
        ratio_estimate(counts, counts)


def test_what_two_tags_have_in_common_falls_out_of_their_difference() -> None:
    rng = np.random.default_rng(3)
    hard = rng.gamma(2.0, 1.0, 80)
    one, other = hard + 0.05, hard
    paired = paired_difference(one.tolist(), other.tolist(), [1.0] * 80)
    alone = ratio_estimate(one.tolist(), [1.0] * 80)
    assert paired.value == pytest.approx(0.05)
    assert paired.low == pytest.approx(0.05)
    assert alone.high is not None
    assert alone.low is not None
    assert alone.high - alone.low > 0.3


@given(st.integers(1, 60), st.data())
@settings(max_examples=60, deadline=None)
def test_wilson_solves_its_own_equation(total: int, data: st.DataObject) -> None:
    """Its ends are the shares p at which the seen share lies z standard errors away."""
    passed = data.draw(st.integers(0, total))
    found = wilson(passed, total)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    for end in (found.low, found.high):
        if 0 < end < 1:
            z = abs(found.value - end) / math.sqrt(end * (1 - end) / total)
            assert z == pytest.approx(1.959964, abs=1e-4)


@pytest.mark.parametrize(
    ("lost", "gained", "p"), [(0, 0, 1.0), (5, 0, 0.0625), (8, 2, 0.109375), (3, 3, 1.0)]
)
def test_mcnemar_is_exact(lost: int, gained: int, p: float) -> None:
    assert mcnemar(lost, gained) == pytest.approx(p)


@given(st.integers(0, 30), st.integers(0, 30))
def test_mcnemar_against_fractions(lost: int, gained: int) -> None:
    n = lost + gained
    tail = sum(Fraction(math.comb(n, k), 2**n) for k in range(min(lost, gained) + 1))
    assert mcnemar(lost, gained) == pytest.approx(float(min(Fraction(1), 2 * tail)))


def test_no_change_at_all_is_still_uncertain() -> None:
    few, many = paired_shares(0, 0, 20), paired_shares(0, 0, 300)
    assert few.high is not None
    assert many.high is not None
    assert 0.05 < few.high < 0.2
    assert 0 < many.high < 0.01


def test_paired_shares_by_hand() -> None:
    """Bonett and Price's formula with n = 50, 10 lost, 3 gained."""
    found = paired_shares(10, 3, 50)
    lost, gained = 11 / 52, 4 / 52
    half = 1.959964 * math.sqrt((lost + gained - (lost - gained) ** 2) / 52)
    assert found.value == pytest.approx(0.14)
    assert (found.low, found.high) == pytest.approx((lost - gained - half, lost - gained + half))


@pytest.mark.parametrize(
    ("low", "value", "high", "call"),
    [
        (-0.01, 0.0, 0.01, "not worse"),
        (0.005, 0.01, 0.019, "not worse"),  # a real loss, but within the margin
        (0.01, 0.019, 0.03, "undecided"),
        (0.02, 0.03, 0.04, "worse"),
        (None, 0.0, None, "undecided"),
    ],
)
def test_calls(low: float | None, value: float, high: float | None, call: str) -> None:
    assert decide("checks", Estimate(value, low, high), 0.02, 40).call == call


def test_prompts_needed_are_enough_and_not_far_too_many() -> None:
    """With ten times the prompts, and the same loss, a decision that was open falls."""
    loss = ratio_estimate([0.0, 0.0, 0.1, -0.1, 0.05] * 12, [1.0] * 60)
    open_ = decide("checks", loss, 0.025, 60)
    assert open_.call == "undecided"
    assert open_.prompts_needed is not None
    assert open_.prompts_needed > 60
    share = math.sqrt(60 / open_.prompts_needed)
    assert loss.low is not None
    assert loss.high is not None
    shrunk = Estimate(
        loss.value,
        loss.value - (loss.value - loss.low) * share,
        loss.value + (loss.high - loss.value) * share,
    )
    assert decide("checks", shrunk, 0.025, open_.prompts_needed).call != "undecided"


def test_a_loss_on_the_margin_is_never_told() -> None:
    assert decide("x", Estimate(0.02, 0.0, 0.04), 0.02, 50).prompts_needed is None
