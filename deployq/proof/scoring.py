"""What two lists of likeliest tokens say of the distributions behind them; pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from deployq.types import BROKEN, TokenStep

# What is left of a probability after rounding; no bucket is taken for emptier.
TINY = 1e-12


def probabilities(step: TokenStep) -> dict[str, float]:
    """Probability by text; of two tokens with one text the likelier counts.

    Texts that are no whole character are left out: they don't say which token it is.
    """
    found: dict[str, float] = {}
    for text, logprob in step.top:
        if BROKEN not in text:
            found[text] = max(found.get(text, 0.0), math.exp(min(logprob, 0.0)))
    return found


def same_top(baseline: TokenStep, quant: TokenStep) -> bool:
    """Whether both hold the same token for the likeliest."""
    return baseline.top[0][0] == quant.top[0][0]


def kl_lower_bound(baseline: TokenStep, quant: TokenStep) -> float:
    """A lower bound of KL(baseline || quant) in nats, from the likeliest tokens of both.

    Tokens that both lists name are buckets of their own, those that only the baseline names
    share one, all others share one. Merging buckets never raises a divergence (the data
    processing inequality; Cover and Thomas, Elements of Information Theory, 2006, sections 2.7
    and 2.8). What the quant gives to the tokens that it doesn't name is not known, but each has
    at most the probability of the last that it names: the value that makes the sum least under
    that limit is taken.
    """
    p, q = probabilities(baseline), probabilities(quant)
    shared = p.keys() & q.keys()
    total = sum(_term(p[text], q[text]) for text in shared)
    only = [p[text] for text in p.keys() - q.keys()]
    p_only = sum(only)
    p_rest = _left(p.values())
    q_rest = max(_left(q[text] for text in shared), TINY)
    q_only = min(_most(len(only), quant), q_rest * p_only / max(p_only + p_rest, TINY))
    return max(0.0, total + _term(p_only, q_only) + _term(p_rest, q_rest - q_only))


def _most(tokens: int, quant: TokenStep) -> float:
    """The most that so many unnamed tokens can have together."""
    return tokens * math.exp(quant.top[-1][1])


def _left(named: Iterable[float]) -> float:
    return max(0.0, 1.0 - sum(named))


def _term(p: float, q: float) -> float:
    return p * math.log(p / max(q, TINY)) if p > 0 else 0.0


def nll_of(text: str, quant: TokenStep) -> tuple[float, bool]:
    """Negative log probability of a token under the quant, and whether that is only a bound.

    A token that is not among the likeliest has at most the probability of the last of them.
    """
    found: Mapping[str, float] = dict(reversed(quant.top))
    if text in found:
        return -found[text], False
    if text == quant.text and not quant.merged:
        return -quant.logprob, False
    return -quant.top[-1][1], True
