"""The lower bound holds, for any two distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.proof.scoring import kl_lower_bound, nll_of, probabilities, same_top
from deployq.types import TokenStep

Logits = np.ndarray


def softmax(logits: Logits) -> Logits:
    shifted = np.exp(logits - logits.max())
    return np.asarray(shifted / shifted.sum())


def listed(p: Logits, top: int = 20) -> TokenStep:
    """What a server tells of a distribution."""
    order = np.argsort(-p)[:top]
    entries = tuple((f"t{i}", math.log(p[i])) for i in order)
    return TokenStep(entries[0][0], entries[0][1], entries)


@given(st.integers(0, 10**6), st.integers(22, 300), st.floats(0, 6), st.floats(0.2, 5))
@settings(max_examples=200, deadline=None)
def test_it_is_a_lower_bound(seed: int, vocabulary: int, damage: float, sharpness: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, sharpness, vocabulary)
    p, q = softmax(logits), softmax(logits + rng.normal(0, damage, vocabulary))
    true = float((p * np.log(p / q)).sum())
    assert 0 <= kl_lower_bound(listed(p), listed(q)) <= true + 1e-9


@given(st.integers(0, 10**6), st.integers(22, 300))
@settings(max_examples=50, deadline=None)
def test_nothing_differs_from_itself(seed: int, vocabulary: int) -> None:
    p = softmax(np.random.default_rng(seed).normal(0, 2, vocabulary))
    assert kl_lower_bound(listed(p), listed(p)) == pytest.approx(0, abs=1e-9)


def test_it_is_exact_where_both_lists_hold_everything() -> None:
    p, q = softmax(np.array([3.0, 1.0, 0.0])), softmax(np.array([1.0, 3.0, 0.0]))
    true = float((p * np.log(p / q)).sum())
    assert kl_lower_bound(listed(p), listed(q)) == pytest.approx(true)


def test_a_token_that_fell_out_of_the_list_counts() -> None:
    """One bucket for all the rest would not see it."""
    p = TokenStep("a", math.log(0.9), (("a", math.log(0.9)), ("b", math.log(0.05))))
    q = TokenStep("c", math.log(0.5), (("c", math.log(0.5)), ("d", math.log(0.1))))
    assert kl_lower_bound(p, q) > 0.9 * math.log(0.9 / 0.2) + 0.1 * math.log(0.1 / 0.8) - 1e-9


def test_of_two_tokens_with_one_text_the_likelier_counts() -> None:
    step = TokenStep("", -0.1, (("", -0.1), ("", -4.0), ("\ufffd", -5.0)))
    assert probabilities(step) == {"": pytest.approx(math.exp(-0.1))}


def test_the_likeliest_are_compared_not_the_chosen() -> None:
    forced = TokenStep("{", -9.0, (("H", -0.1), ("I", -3.0)))
    assert same_top(forced, TokenStep("H", -0.2, (("H", -0.2),)))


@pytest.mark.parametrize(
    ("text", "found"), [("a", (0.1, False)), ("b", (2.0, False)), ("z", (2.0, True))]
)
def test_nll(text: str, found: tuple[float, bool]) -> None:
    assert nll_of(text, TokenStep("a", -0.1, (("a", -0.1), ("b", -2.0)))) == found


def test_merged_pieces_are_told_from_forced_tokens() -> None:
    assert TokenStep("\N{GLOBE WITH MERIDIANS}", -1.1, (("\ufffd", -1.1), ("x", -3.0))).merged
    assert not TokenStep("a", -0.1, (("a", -0.1), ("b", -2.0))).merged
    assert not TokenStep("z", -7.0, (("a", -0.1), ("b", -2.0))).merged  # forced by a grammar
