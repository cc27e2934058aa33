"""Two runs held against each other."""

from __future__ import annotations

from typing import Literal

from deployq.records import dataclass
from deployq.types.quality import Estimate
from deployq.types.run import Run

ChangeVerdict = Literal["better", "worse", "same"]
FigureName = Literal["size", "checks", "same token", "KL", "perplexity", "speed"]


@dataclass(frozen=True)
class FigureChange:
    """One figure before and after.

    `difference` is after minus before (of "perplexity" and "speed": after over before, less one)
    with its interval over the prompts that both asked. "same": the interval holds zero, or the
    difference is within `noise`, how far a tag is from itself.
    """

    figure: FigureName
    before: float
    after: float
    difference: Estimate
    verdict: ChangeVerdict
    prompts: int | None = None
    noise: float | None = None


@dataclass(frozen=True)
class TagChange:
    """One tag in both runs; `lost` and `gained` are prompts that only one of them passes."""

    tag: str
    quant: str
    verdict: ChangeVerdict
    figures: tuple[FigureChange, ...]
    lost: tuple[str, ...] = ()
    gained: tuple[str, ...] = ()
    rewritten: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunComparison:
    """What changed from `before` to `after`; `remarks` say what limits the comparison.

    `gone` and `added` are quants that only one of them has.
    """

    before: Run
    after: Run
    tags: tuple[TagChange, ...]
    gone: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def verdict(self) -> ChangeVerdict:
        """Worse where one tag is, better where one is and none is worse."""
        found = {tag.verdict for tag in self.tags}
        return "worse" if "worse" in found else "better" if "better" in found else "same"
