"""Several tasks at a time, each in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.pool import ThreadPool
from typing import TypeVar

from deployq.pipeline.parallel import Stopped

T = TypeVar("T")

# How long an interrupted push waits, for all of its threads together, until they have taken away
# what they had staged. What then is left, the next command takes away.
GRACE_SECONDS = 5.0


def in_threads(tasks: Sequence[Callable[[], T]], stop: threading.Event) -> list[T]:
    """The results of all tasks, in their order.

    Args:
        stop: set when this is interrupted, for the tasks' own progress to look at.
    """
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
    except Stopped as exc:
        raise InterruptedError from exc
