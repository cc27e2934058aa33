"""Several servers at once: each in a thread of its own, and all of them stop on Ctrl-C."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.pool import ThreadPool
from typing import TypeVar

from deployq.types import Progress

T = TypeVar("T")

# How long an interrupted push waits, for all of its threads together, until they have taken away
# what they had staged. What then is left, the next command takes away.
GRACE_SECONDS = 5.0


class _Stopped(KeyboardInterrupt):
    """Somebody pressed Ctrl-C; in a thread it does what an interrupt does: nothing goes on."""


def at_once(tasks: Sequence[Callable[[], T]], stop: threading.Event) -> list[T]:
    """The results of all tasks, in their order; one alone runs in the calling thread.

    Args:
        stop: set when this is interrupted, for the tasks' own progress to look at.
    """
    if len(tasks) <= 1:
        return [task() for task in tasks]
    # Its threads are daemons: one that waits for a server does not keep the process alive.
    with ThreadPool(len(tasks)) as pool:
        results = [pool.apply_async(_until_stopped, (task,)) for task in tasks]
        try:
            return [result.get() for result in results]
        except BaseException:
            stop.set()
            deadline = time.monotonic() + GRACE_SECONDS
            for result in results:
                result.wait(max(0.0, deadline - time.monotonic()))
            raise


def _until_stopped(task: Callable[[], T]) -> T:
    """A task's result. A pool would wait for ever for one that ends by an interrupt."""
    try:
        return task()
    except _Stopped as exc:
        raise InterruptedError from exc


def stopping(progress: Progress, stop: threading.Event) -> Progress:
    """The same progress; once `stop` is set it ends whoever reports."""

    def checked(task: str, done: float, total: float | None, unit: str) -> None:
        if stop.is_set():
            raise _Stopped
        progress(task, done, total, unit)

    return checked
