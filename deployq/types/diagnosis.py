"""Whose fault it is that a tag does not answer as it should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from deployq.records import dataclass
from deployq.types.verification import PromptResult

Cause = Literal[
    "nothing wrong",
    "context",
    "template",
    "stop token",
    "parameters",
    "damaged weights",
    "quantization",
    "runtime",
    "conversion",
    "model",
    "undecided",
]
RungName = Literal[
    "tag",
    "context",
    "template",
    "end mark",
    "parameters",
    "full precision",
    "llama.cpp",
    "transformers",
]
Confidence = Literal["certain", "likely", "open"]


@dataclass(frozen=True)
class Rung:
    """One way of asking the prompts that failed, with one suspect less than the one before.

    `title` says how they were asked; `skipped` why they were not, where there are no results.
    `full_precision`: what was asked has its weights as they were trained.
    """

    name: RungName
    title: str
    results: tuple[PromptResult, ...] = ()
    skipped: str = ""
    seconds: float = 0.0
    full_precision: bool = False

    @property
    def passed(self) -> frozenset[str]:
        """The names of the prompts that it passed."""
        return frozenset(result.prompt.name for result in self.results if result.ok)

    @property
    def asked(self) -> frozenset[str]:
        """The names of the prompts that it was asked and gave an answer to."""
        return frozenset(r.prompt.name for r in self.results if r.answer is not None)


@dataclass(frozen=True)
class Clue:
    """Something that was looked at besides answers.

    `suspect` is the cause that it speaks for; None: it clears what was looked at. `proven`: it
    alone proves that something is wrong there.
    """

    about: str
    message: str
    suspect: Cause | None = None
    proven: bool = False


@dataclass(frozen=True)
class Ruling:
    """What follows from rungs and evidence: one cause in all, and one for each prompt."""

    cause: Cause
    confidence: Confidence
    causes: Mapping[str, Cause] = field(default_factory=dict)


@dataclass(frozen=True)
class Diagnosis:
    """Why prompts fail at a tag; `sentence` says it, `mend` is the command (or step) against it.

    `asked` counts the suite's prompts, `failed` those of them that the tag failed.
    """

    tag: str
    host: str
    quant: str
    suite: str
    asked: int
    failed: int
    rungs: tuple[Rung, ...]
    evidence: tuple[Clue, ...]
    ruling: Ruling
    sentence: str
    mend: str = ""
    notes: tuple[str, ...] = ()
