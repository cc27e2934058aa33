"""SIGTERM and SIGHUP end a command as Ctrl-C does: what is under way is undone, and it says so."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# A closed terminal hangs up twice (the kernel and the shell), `timeout` asks a program and then its
# group: what comes again so soon is the same wish, and would cut short what puts things back.
REPEATED_SECONDS = 2.0


class Ended(KeyboardInterrupt):
    """A signal asked the command to end; `exit_code` is the one that shells give for it."""

    def __init__(self, number: int) -> None:
        self.signal_name = signal.Signals(number).name
        self.exit_code = 128 + number
        super().__init__(self.signal_name)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raises `Ended` in the block when SIGTERM or SIGHUP comes.

    A signal that is ignored stays so (nohup), and so does one that somebody else takes care of.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    last = -REPEATED_SECONDS

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal last
        before, last = last, time.monotonic()
        if last - before < REPEATED_SECONDS:
            return
        raise Ended(number)

    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
