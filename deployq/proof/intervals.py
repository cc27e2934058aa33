"""Intervals that hold with few prompts; apart, as numpy and scipy take their time to import.

How often each of them fails is measured: `python -m benchmarks.simulated_verdicts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtrit

from deployq.proof.statistics import Tail

Vector = NDArray[np.float64]

# Losses have a long tail: a few prompts carry most of it, and few prompts may have missed those.
# With so many prompts the end on that side is drawn for half of the error that is allowed.
PRUDENCE = 150
# A normal approximation of the paired shares errs by up to a fifth of the error that is allowed.
APPROXIMATION = 0.8


def ratio_interval(
    sums: Sequence[float], counts: Sequence[float], confidence: float, long_tail: Tail = "both"
) -> tuple[float, float]:
    """The interval of a sum over a sum, both per prompt; every count is above zero.

    Student's interval of a ratio estimator (Cochran, Sampling Techniques, 1977, section 6.8), with
    two precautions, as losses are skewed: each end counts one more prompt, as bad (or as good) as
    the worst (the best) that was seen, and with few prompts less error is allowed on the side of
    the long tail.
    """
    top, bottom = np.asarray(sums, dtype=float), np.asarray(counts, dtype=float)
    n = len(top)
    allowed = (1 - confidence) / 2
    reach = -float(stdtrit(n - 1, allowed))
    prudent = -float(stdtrit(n - 1, allowed * n / (n + PRUDENCE)))
    rates = top / bottom
    low, low_error = _ratio_with(top, bottom, float(rates.min()))
    high, high_error = _ratio_with(top, bottom, float(rates.max()))
    low -= low_error * (reach if long_tail == "above" else prudent)
    high += high_error * (reach if long_tail == "below" else prudent)
    return low, high


def _ratio_with(top: Vector, bottom: Vector, rate: float) -> tuple[float, float]:
    """The ratio and its standard error, with one more prompt of that rate and average length."""
    counts = np.append(bottom, bottom.mean())
    sums = np.append(top, rate * bottom.mean())
    ratio = sums.sum() / counts.sum()
    apart = sums - ratio * counts
    n = len(counts)
    error = np.sqrt(n / (n - 1) * (apart**2).sum()) / counts.sum()
    return float(ratio), float(error)


def paired_interval(
    lost: float, gained: float, total: int, confidence: float
) -> tuple[float, float]:
    """The interval of the share lost less the share gained, over the same prompts.

    The adjusted Wald interval (Bonett and Price, Journal of Educational and Behavioral Statistics
    37, 2012, 479-488) keeps its width where no prompt changed sides. Where hardly any did it is
    too narrow, so neither end comes nearer than the exact bound (Clopper and Pearson, Biometrika
    26, 1934, 404-413) on the prompts of its own side.
    """
    tail = (1 - confidence) / 2
    z = -NormalDist().inv_cdf(tail * APPROXIMATION)
    p_lost, p_gained = (lost + 1) / (total + 2), (gained + 1) / (total + 2)
    middle = p_lost - p_gained
    half = z * float(np.sqrt((p_lost + p_gained - middle**2) / (total + 2)))
    low = min(middle - half, lost / total - _most(gained, total, tail))
    high = max(middle + half, _most(lost, total, tail) - gained / total)
    return max(-1.0, low), min(1.0, high)


def _most(seen: float, total: int, tail: float) -> float:
    """The largest share of all that would show as few as were seen."""
    return 1.0 if seen >= total else float(betaincinv(seen + 1, total - seen, 1 - tail))
