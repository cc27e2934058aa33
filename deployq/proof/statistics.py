"""Figures with intervals, tests and decisions.

Tokens of one answer depend on one another, so what is counted is the prompt, never the token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Literal

from deployq import proof
from deployq.types import Call, Decision, Estimate

CONFIDENCE = 0.95
# How likely a decision has to be with the number of prompts that is said to tell.
POWER = 0.8
Tail = Literal["above", "below", "both"]
# Fewer clusters than that say nothing of their own spread.
LEAST_PROMPTS = 3
MOST_PROMPTS = 1_000_000


def ratio_estimate(
    sums: Sequence[float],
    counts: Sequence[float],
    *,
    confidence: float = CONFIDENCE,
    least: float = -math.inf,
    most: float = math.inf,
    long_tail: Tail = "both",
    exponential: bool = False,
) -> Estimate:
    """Sum over sum, with an interval over prompts.

    Args:
        sums: per prompt, the sum of a figure over its tokens.
        counts: per prompt, the number of those tokens; prompts without any are left out.
        least, most: what the figure can be (0 and 1: a share).
        long_tail: the side on which a few prompts may lie far out.
        exponential: exp of the ratio, as for a perplexity.

    Raises:
        ValueError: there is nothing to count.
    """
    top, bottom = _paired(sums, counts)
    shape: Callable[[float], float] = math.exp if exponential else float
    value = shape(math.fsum(top) / math.fsum(bottom))
    if len(top) < LEAST_PROMPTS:
        return Estimate(value, None, None, confidence)
    low, high = proof.ratio_interval(top, bottom, confidence, long_tail)
    return Estimate(value, shape(max(least, low)), shape(min(most, high)), confidence)


def paired_difference(
    one: Sequence[float],
    other: Sequence[float],
    counts: Sequence[float],
    *,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Ratio of `one` minus that of `other`, both over the same prompts and counts.

    What makes a prompt hard for both falls out.
    """
    return ratio_estimate(
        [a - b for a, b in zip(one, other, strict=True)], counts, confidence=confidence
    )


def wilson(passed: int, total: int, confidence: float = CONFIDENCE) -> Estimate:
    """A share with Wilson's score interval, which holds at 0 and at 1 too.

    Source: Wilson, JASA 22 (1927) 209-212; recommended for small samples by Brown, Cai and
    DasGupta, Statistical Science 16 (2001) 101-133.
    """
    if not total:
        raise ValueError("no share of nothing")
    z = _z(confidence)
    share = passed / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = (
        z
        / (1 + z * z / total)
        * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    )
    low = 0.0 if passed == 0 else middle - half
    high = 1.0 if passed == total else middle + half
    return Estimate(share, low, high, confidence)


def paired_shares(lost: int, gained: int, total: int, confidence: float = CONFIDENCE) -> Estimate:
    """How much larger the share that passes under the baseline is than under the quant.

    Args:
        lost: prompts that only the baseline passes.
        gained: prompts that only the quant passes.
        total: all prompts.
    """
    if not total:
        raise ValueError("no share of nothing")
    low, high = proof.paired_interval(lost, gained, total, confidence)
    return Estimate((lost - gained) / total, low, high, confidence)


def sign_test(lost: int, gained: int) -> float:
    """How likely so many losses, or more, are where losing and gaining are equally likely.

    Source: the exact form of McNemar's test, Psychometrika 12 (1947) 153-157, one-sided.
    """
    pairs = lost + gained
    return float(sum(math.comb(pairs, k) for k in range(lost, pairs + 1)) / 2**pairs)


def decide_shares(
    what: str, lost: int, gained: int, total: int, margin: float, confidence: float = CONFIDENCE
) -> Decision:
    """Does the share that passes fall by less than a margin (0.02: two of a hundred)?"""
    loss = paired_shares(lost, gained, total, confidence)
    call = _call(loss, margin) if margin < 1 else "not worse"  # all may be lost
    p_lost, p_gained = lost / total, gained / total
    spread = math.sqrt(p_lost + p_gained - (p_lost - p_gained) ** 2)

    def tells(prompts: int) -> bool:
        low, high = proof.paired_interval(p_lost * prompts, p_gained * prompts, prompts, confidence)
        return _is_told(Estimate(loss.value, low, high), margin, spread / math.sqrt(prompts))

    needed = _least(total, tells) if call == "undecided" else None
    return Decision(what, call, loss, margin, total, needed)


def decide_ratio(what: str, loss: Estimate, margin: float, prompts: int) -> Decision:
    """Is a loss that was averaged over prompts (above zero is worse) within a margin?"""
    call = _call(loss, margin)
    needed = None
    if call == "undecided" and loss.low is not None and loss.high is not None:
        z = NormalDist().inv_cdf((1 + loss.confidence) / 2)
        below, above = loss.value - loss.low, loss.high - loss.value
        spread = min(below, above) / z

        def tells(more: int) -> bool:
            shrunk = math.sqrt(prompts / more)
            then = Estimate(loss.value, loss.value - below * shrunk, loss.value + above * shrunk)
            return _is_told(then, margin, spread * shrunk)

        needed = _least(prompts, tells)
    return Decision(what, call, loss, margin, prompts, needed)


def _call(loss: Estimate, margin: float) -> Call:
    """The confidence-interval form of a non-inferiority test.

    "not worse": the whole interval lies below the margin; "worse": all of it lies at or above;
    "undecided": the margin lies inside (Piaggio and others, JAMA 308 (2012) 2594-2604).
    """
    if loss.low is None or loss.high is None:
        return "undecided"
    if loss.high < margin:
        return "not worse"
    return "worse" if loss.low >= margin else "undecided"


def _is_told(loss: Estimate, margin: float, error: float) -> bool:
    """Would a loss be told from its margin with `POWER`, where the figure itself varies so much?"""
    assert loss.low is not None
    assert loss.high is not None
    room = margin - loss.high if loss.value < margin else loss.low - margin
    return room > 0 and room >= NormalDist().inv_cdf(POWER) * error


def _least(prompts: int, tells: Callable[[int], bool]) -> int | None:
    """The least number of prompts that tells, none more than `MOST_PROMPTS`."""
    low, high = prompts, prompts
    while not tells(high):
        low, high = high, high * 2
        if high > MOST_PROMPTS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if tells(middle) else (middle, high)
    return high


def _paired(sums: Sequence[float], counts: Sequence[float]) -> tuple[list[float], list[float]]:
    if len(sums) != len(counts):
        raise ValueError(f"{len(sums)} sums, but {len(counts)} counts")
    kept = [number for number, count in enumerate(counts) if count > 0]
    if not kept:
        raise ValueError("there is nothing to count")
    return [float(sums[n]) for n in kept], [float(counts[n]) for n in kept]


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
