"""Intervals that cover what they should, decisions that follow from them."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.proof.intervals import paired_interval
from deployq.proof.statistics import (
    decide_ratio,
    decide_shares,
    paired_difference,
    paired_shares,
    ratio_estimate,
    sign_test,
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
    assert found.low <= found.value + 1e-9
    assert found.high >= found.value - 1e-9
    kept = ratio_estimate(sums, counts, least=0.0, most=5.0)
    assert kept.low is not None
    assert kept.high is not None
    assert 0 <= kept.low <= kept.high <= 5


def test_prompts_are_drawn_not_tokens() -> None:
    """The same tokens in few long answers are less certain than in many short ones."""
    rng = np.random.default_rng(1)
    per_prompt = rng.normal(1.0, 0.5, 200)
    short = ratio_estimate(per_prompt.tolist(), [1.0] * 200)
    # every value stands for a whole answer of ten equal tokens: no more is known than before
    long = ratio_estimate((per_prompt * 10).tolist(), [10.0] * 200)
    assert (short.low, short.high) == pytest.approx((long.low, long.high))


@pytest.mark.parametrize("prompts", [5, 10, 25, 60, 300])
@pytest.mark.parametrize("shape", ["gamma", "normal", "long answers lose more"])
def test_the_truth_lies_above_an_interval_no_oftener_than_is_said(shape: str, prompts: int) -> None:
    """1,000 suites of answers of different lengths, by prompts that lose differently much."""
    rng = np.random.default_rng(prompts)
    above = below = 0
    for _ in range(1000):
        lengths = rng.integers(5, 40, prompts)
        if shape == "normal":
            losses, truth = rng.normal(0.05, 0.1, prompts), 0.05
        else:
            losses, truth = rng.gamma(2.0, 0.5, prompts), 1.0
        if shape == "long answers lose more":
            losses = losses * (1 + (lengths - 22) / 60)
            every = np.arange(5, 40)
            truth = float((every * (1 + (every - 22) / 60)).mean() / every.mean())
        found = ratio_estimate((losses * lengths).tolist(), lengths.tolist(), long_tail="above")
        assert found.low is not None
        assert found.high is not None
        above += truth > found.high
        below += truth < found.low
    chance = 3 * math.sqrt(0.025 * 0.975 / 1000)
    assert above / 1000 <= 0.025 + chance
    assert below / 1000 <= 0.025 + chance


@pytest.mark.parametrize("margin", [0.02, 0.05])
@pytest.mark.parametrize("prompts", [10, 25, 100, 150, 200, 300])
def test_a_loss_as_large_as_the_margin_is_missed_no_oftener_than_is_said(
    margin: float, prompts: int
) -> None:
    """Exact, over all that can come out: a share of prompts changes sides either way."""
    for churn in (margin, margin + 0.01, margin + 0.1):
        p_lost, p_gained = (churn + margin) / 2, (churn - margin) / 2
        missed = accused = 0.0
        for lost in range(prompts + 1):
            for gained in range(prompts - lost + 1):
                chance = _trinomial(prompts, lost, gained, p_lost, p_gained)
                if chance > 1e-7:
                    low, high = paired_interval(lost, gained, prompts, 0.95)
                    missed += chance * (high < margin)
                    accused += chance * (low >= margin)
        assert missed <= 0.0255
        assert accused <= 0.0255


def _trinomial(n: int, lost: int, gained: int, p_lost: float, p_gained: float) -> float:
    if gained and p_gained <= 0:
        return 0.0
    log = math.lgamma(n + 1) - math.lgamma(lost + 1) - math.lgamma(gained + 1)
    log -= math.lgamma(n - lost - gained + 1)
    log += lost * math.log(p_lost) + (n - lost - gained) * math.log(1 - p_lost - p_gained)
    return math.exp(log + (gained * math.log(p_gained) if gained else 0.0))


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
    ("lost", "gained", "p"), [(0, 0, 1.0), (5, 0, 1 / 32), (8, 2, 56 / 1024), (0, 3, 1.0)]
)
def test_losses_and_gains_by_chance(lost: int, gained: int, p: float) -> None:
    assert sign_test(lost, gained) == pytest.approx(p)


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_sign_test_against_fractions(lost: int, gained: int) -> None:
    n = lost + gained
    tail = sum(Fraction(math.comb(n, k), 2**n) for k in range(lost, n + 1))
    assert sign_test(lost, gained) == pytest.approx(float(tail))


def test_no_change_at_all_is_still_uncertain() -> None:
    few, many = paired_shares(0, 0, 20), paired_shares(0, 0, 300)
    assert few.high is not None
    assert many.high is not None
    assert 0.05 < few.high < 0.2
    assert 0 < many.high < 0.02


def test_gains_count() -> None:
    alone, made_up = paired_shares(6, 0, 300), paired_shares(6, 6, 300)
    assert (alone.value, made_up.value) == (0.02, 0.0)
    assert alone.low is not None
    assert made_up.low is not None
    assert made_up.low < 0 < alone.low


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
    assert decide_ratio("checks", Estimate(value, low, high), 0.02, 40).call == call


@pytest.mark.parametrize(("lost", "gained", "prompts"), [(0, 0, 30), (2, 2, 100), (12, 1, 200)])
def test_so_many_prompts_would_tell_eight_times_of_ten(
    lost: int, gained: int, prompts: int
) -> None:
    found = decide_shares("checks", lost, gained, prompts, 0.02)
    assert found.call == "undecided"
    assert found.prompts_needed is not None
    rng = np.random.default_rng(4)
    shares = [lost / prompts, gained / prompts, (prompts - lost - gained) / prompts]
    told = 0
    for then_lost, then_gained, _ in rng.multinomial(found.prompts_needed, shares, 400):
        call = decide_shares(
            "checks", int(then_lost), int(then_gained), found.prompts_needed, 0.02
        ).call
        told += call != "undecided"
    assert 0.7 <= told / 400 <= (1.0 if not lost else 0.95)
    assert decide_shares("checks", 0, 0, 183, 0.02).call == "not worse"


def test_so_many_prompts_would_tell_a_perplexity() -> None:
    rng = np.random.default_rng(5)

    def loss_of(prompts: int) -> Estimate:
        return ratio_estimate(rng.normal(0.03, 0.1, prompts).tolist(), [1.0] * prompts)

    first = decide_ratio("perplexity", Estimate(0.03, -0.02, 0.08), 0.05, 25)
    assert first.prompts_needed is not None
    told = sum(
        decide_ratio("perplexity", loss_of(first.prompts_needed), 0.05, first.prompts_needed).call
        == "not worse"
        for _ in range(200)
    )
    assert told / 200 >= 0.7


def test_a_loss_on_the_margin_is_never_told() -> None:
    assert decide_ratio("x", Estimate(0.02, 0.0, 0.04), 0.02, 50).prompts_needed is None
