"""Several servers at once, and all of them stop on Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from deployq import pipeline
from deployq.types import Progress

T = TypeVar("T")


class Stopped(KeyboardInterrupt):
    """Somebody pressed Ctrl-C; in a thread it does what an interrupt does: nothing goes on."""


def at_once(tasks: Sequence[Callable[[], T]], stop: threading.Event) -> list[T]:
    """The results of all tasks, in their order; one alone runs in the calling thread.

    Args:
        stop: set when this is interrupted, for the tasks' own progress to look at.
    """
    if len(tasks) <= 1:
        return [task() for task in tasks]
    return pipeline.in_threads(tasks, stop)


def stopping(progress: Progress, stop: threading.Event) -> Progress:
    """The same progress; once `stop` is set it ends whoever reports."""

    def checked(task: str, done: float, total: float | None, unit: str) -> None:
        if stop.is_set():
            raise Stopped
        progress(task, done, total, unit)

    return checked
