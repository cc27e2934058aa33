"""Several models on one machine."""

from __future__ import annotations

from deployq.records import dataclass
from deployq.types.base import Fit
from deployq.types.machines import Target
from deployq.types.plan import Candidate


@dataclass(frozen=True)
class Share:
    """One of several models that are kept loaded on one target."""

    model: str
    candidate: Candidate
    n_ctx: int


@dataclass(frozen=True)
class TogetherPlan:
    """Several models kept loaded on one target: which quant of each, `verdict` on their sum.

    `extra_bytes` is what every further model's process takes beside its own memory. Where
    nothing fits, `shares` are the smallest.
    """

    target: Target
    shares: tuple[Share, ...]
    extra_bytes: int
    verdict: Fit
    why: str

    @property
    def total_bytes(self) -> int:
        return self.extra_bytes + sum(s.candidate.memory.total_bytes for s in self.shares)
