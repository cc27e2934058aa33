"""Intervals and tests that hold where tokens of one answer depend on one another.

The unit that is drawn again is the prompt, never the token: a bootstrap over clusters
(Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
Everything here is pure; a seed makes it repeatable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

from deployq import proof
from deployq.types import Call, Decision, Estimate

SEED = 20261125
CONFIDENCE = 0.95
# Fewer clusters than that say nothing of their own spread.
LEAST_PROMPTS = 3
MOST_PROMPTS = 1_000_000


def ratio_estimate(
    sums: Sequence[float],
    counts: Sequence[float],
    *,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
    exponential: bool = False,
) -> Estimate:
    """Sum over sum, with a bootstrap interval (BCa) over prompts.

    Args:
        sums: per prompt, the sum of a figure over its tokens.
        counts: per prompt, the number of those tokens; prompts without any are left out.
        exponential: exp of the ratio, as for a perplexity.

    Raises:
        ValueError: there is nothing to count.
    """
    top, bottom = _paired(sums, counts)
    shape: Callable[[float], float] = math.exp if exponential else float
    value = shape(math.fsum(top) / math.fsum(bottom))
    if len(top) < LEAST_PROMPTS:
        return Estimate(value, None, None, confidence)
    low, high = proof.bootstrap_interval(top, bottom, confidence, seed)
    return Estimate(value, shape(low), shape(high), confidence)


def paired_difference(
    one: Sequence[float],
    other: Sequence[float],
    counts: Sequence[float],
    *,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> Estimate:
    """Ratio of `one` minus that of `other`, both over the same prompts and counts.

    Every resample draws the same prompts for both, so what makes a prompt hard for both falls
    out (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 10.3).
    """
    return ratio_estimate(
        [a - b for a, b in zip(one, other, strict=True)], counts, confidence=confidence, seed=seed
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

    Source: the adjusted Wald interval for a difference of paired proportions, Bonett and Price,
    Journal of Educational and Behavioral Statistics 37 (2012) 479-488. It keeps its width where
    no prompt changed sides, as a bootstrap does not.
    """
    if not total:
        raise ValueError("no share of nothing")
    p_lost, p_gained = (lost + 1) / (total + 2), (gained + 1) / (total + 2)
    middle = p_lost - p_gained
    half = _z(confidence) * math.sqrt((p_lost + p_gained - middle**2) / (total + 2))
    return Estimate(
        (lost - gained) / total, max(-1.0, middle - half), min(1.0, middle + half), confidence
    )


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided p value that losses and gains are equally likely: the exact McNemar test.

    Source: McNemar, Psychometrika 12 (1947) 153-157; exact by the binomial distribution.
    """
    pairs = lost + gained
    if not pairs:
        return 1.0
    tail = float(sum(math.comb(pairs, k) for k in range(min(lost, gained) + 1)) / 2**pairs)
    return min(1.0, 2 * tail)


def decide(what: str, loss: Estimate, margin: float, prompts: int) -> Decision:
    """Is a loss (above zero is worse) within a margin?

    "not worse": the whole interval lies below the margin; "worse": the whole interval lies at
    or above it; "undecided": the margin lies inside, more prompts are needed. This is the
    confidence-interval form of a non-inferiority test (Piaggio and others, JAMA 308 (2012)
    2594-2604).
    """
    return Decision(
        what, _call(loss, margin), loss, margin, prompts, _needed(loss, margin, prompts)
    )


def _call(loss: Estimate, margin: float) -> Call:
    if loss.low is None or loss.high is None:
        return "undecided"
    if loss.high < margin:
        return "not worse"
    return "worse" if loss.low >= margin else "undecided"


def _needed(loss: Estimate, margin: float, prompts: int) -> int | None:
    """Prompts at which this very loss would be told from the margin.

    The width of an interval shrinks with the root of the number of prompts, so the half of it
    that reaches over the margin has to shrink to the distance between loss and margin.
    """
    if _call(loss, margin) != "undecided" or loss.low is None or loss.high is None:
        return None
    distance = abs(margin - loss.value)
    reach = loss.high - loss.value if loss.value < margin else loss.value - loss.low
    if distance <= 0 or reach <= 0:
        return None
    needed = math.ceil(prompts * (reach / distance) ** 2) + 1
    return needed if needed <= MOST_PROMPTS else None


def _paired(sums: Sequence[float], counts: Sequence[float]) -> tuple[list[float], list[float]]:
    if len(sums) != len(counts):
        raise ValueError(f"{len(sums)} sums, but {len(counts)} counts")
    kept = [number for number, count in enumerate(counts) if count > 0]
    if not kept:
        raise ValueError("there is nothing to count")
    return [float(sums[n]) for n in kept], [float(counts[n]) for n in kept]


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
