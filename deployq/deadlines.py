"""Work in a thread that may be left behind, and a limit on a whole question."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["in_background", "within"]

T = TypeVar("T")


def in_background(work: Callable[[], T]) -> Future[T]:
    """Start work in a thread of its own, which keeps no process alive."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as exc:  # noqa: BLE001  (raised again where it is waited for)
            future.set_exception(exc)

    threading.Thread(target=run, daemon=True).start()
    return future


def within(seconds: float, ask: Callable[[], T]) -> T:
    """The answer to a question, if it comes in time, whatever holds it up.

    A socket's own timeout starts again with every byte, and looking up a name has none. So the
    question is asked in a thread of its own, which is left behind when it is late.

    Args:
        seconds: how long the answer may take.
        ask: changes nothing, as nobody learns how a late one ended.

    Raises:
        TimeoutError: it came too late; else whatever `ask` raises.
    """
    return in_background(ask).result(seconds)
