"""Resampling of prompts; apart, as numpy takes its time to import and a plain push needs none."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4000
Vector = NDArray[np.float64]


def bootstrap_interval(
    sums: Sequence[float], counts: Sequence[float], confidence: float, seed: int
) -> tuple[float, float]:
    """The interval of a sum over a sum, both per prompt; every count is above zero.

    Bias-corrected and accelerated percentiles, which mend the skew of a plain bootstrap.
    Source: Efron, JASA 82 (1987) 171-185; the acceleration by leaving out each prompt in turn.
    """
    top, bottom = np.asarray(sums, dtype=float), np.asarray(counts, dtype=float)
    drawn = _resampled_ratios(top, bottom, seed)
    normal = NormalDist()
    seen = top.sum() / bottom.sum()
    below = ((drawn < seen).sum() + (drawn == seen).sum() / 2) / len(drawn)
    bias = normal.inv_cdf(float(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn))))
    acceleration = _acceleration(top, bottom)
    levels = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        z = bias + normal.inv_cdf(tail)
        levels.append(normal.cdf(bias + z / max(1 - acceleration * z, 0.1)))
    low, high = np.quantile(drawn, levels)
    return float(low), float(high)


def _resampled_ratios(top: Vector, bottom: Vector, seed: int) -> Vector:
    """The ratio in each resample; only how often each prompt was drawn matters."""
    rng = np.random.default_rng(seed)
    n = len(top)
    draws = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    ratios: Vector = (draws @ top) / (draws @ bottom)
    return ratios


def _acceleration(top: Vector, bottom: Vector) -> float:
    left_out = (top.sum() - top) / (bottom.sum() - bottom)
    apart = left_out.mean() - left_out
    spread = float((apart**2).sum()) ** 1.5
    return float((apart**3).sum()) / (6 * spread) if spread > 0 else 0.0
