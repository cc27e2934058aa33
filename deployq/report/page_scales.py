"""Axes: where a value lies on a picture, and which values get a mark."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deployq.records import dataclass

LOG_FROM = 2.5
"""An axis whose largest value is that many times its smallest is logarithmic."""


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value; what is outside lies at the edge."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def has(self, value: float) -> bool:
        return self.low <= value <= self.high


def size_scale(sizes: Sequence[float], start: float, end: float) -> Scale:
    """File sizes, in any unit, with some room on both sides."""
    least, most = max(min(sizes), 1e-9), max(sizes)
    if most / least > LOG_FROM:
        return Scale(least / 1.12, most * 1.12, start, end, log=True)
    room = max((most - least) * 0.12, most * 0.05)
    return Scale(max(least - room, 0), most + room, start, end)


def ticks(scale: Scale, most: int) -> list[float]:
    """Round values on an axis, at most about `most` of them."""
    if scale.log:
        return _log_ticks(scale, most)
    step = _step((scale.high - scale.low) / max(most, 1))
    first = math.ceil(scale.low / step - 1e-9)
    last = math.floor(scale.high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _step(raw: float) -> float:
    power = 10 ** math.floor(math.log10(raw))
    return float(power * next(n for n in (1, 2, 5, 10) if n * power >= raw * (1 - 1e-9)))


def _log_ticks(scale: Scale, most: int) -> list[float]:
    """1, 1.5, 2, 3, 4, 6, 8 times a power of ten, or fewer of them."""
    for chosen in ((1, 1.5, 2, 3, 4, 6, 8), (1, 2, 4, 8), (1, 3), (1,)):
        found = [
            n * 10.0**power
            for power in range(math.floor(math.log10(scale.low)), 16)
            for n in chosen
            if scale.has(n * 10.0**power)
        ]
        if len(found) <= most:
            return found
    return found
