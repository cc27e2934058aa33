"""The steps of one tag on its way to a server: timed, and told of as they end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from deployq.types import StepResult, StepStatus

OnStep = Callable[[StepResult], None]


def _silent(_: StepResult) -> None:
    """An `on_step` that tells nobody."""


@dataclass
class Outcome:
    """What a step says of itself while it runs."""

    status: StepStatus = "done"
    bytes: int = 0
    detail: str = ""


@dataclass
class Steps:
    """Times the steps of one tag and tells of each as it ends."""

    on_step: OnStep = _silent
    done: list[StepResult] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Outcome]:
        """One step; a failure is told of, too, and goes on."""
        outcome, start = Outcome(), time.perf_counter()
        try:
            yield outcome
        except BaseException as exc:
            self._end(name, Outcome("failed", detail=str(exc) or type(exc).__name__), start)
            raise
        self._end(name, outcome, start)

    def _end(self, name: str, outcome: Outcome, start: float) -> None:
        seconds = time.perf_counter() - start
        result = StepResult(name, outcome.status, seconds, outcome.bytes, outcome.detail)
        self.done.append(result)
        self.on_step(result)
