"""The lesson's tables."""

from __future__ import annotations

from collections.abc import Mapping

from deployq.records import dataclass
from deployq.types.base import Fit, Goal
from deployq.types.plan import Candidate, QuantSize


@dataclass(frozen=True)
class GuideFit:
    """One cell of a table: what is said of a model on a machine, and what the planner says.

    `why` names what makes the difference where the two don't agree.
    """

    machine: str
    model: str
    claim: Fit
    candidate: Candidate
    n_ctx: int
    budget_bytes: int
    why: str = ""


@dataclass(frozen=True)
class GuideSize:
    """One quant of the 7B model: what is said of its file, and its exact size."""

    quant: str
    claimed_bytes: int
    claimed_bits: float
    size: QuantSize


@dataclass(frozen=True)
class GuideChoice:
    """One line of the decision guide: the quants that are advised, and the goal that takes one."""

    situation: str
    advised: tuple[str, ...]
    goal: Goal
    chosen: str


@dataclass(frozen=True)
class Guide:
    """Tables of fits by title, the sizes of the 7B model, and the decision guide."""

    fits: Mapping[str, tuple[GuideFit, ...]]
    sizes: tuple[GuideSize, ...]
    choices: tuple[GuideChoice, ...]
