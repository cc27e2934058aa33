"""While a plugin's code runs: it is named when it takes long, and Ctrl-C ends it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SECONDS = 5.0
"""After so long people wonder what they wait for."""

Say = Callable[[str], None]


class _Watch:
    """One thread that names what takes too long; it ends when there is nothing to look at.

    What is over before it is due wakes nobody: the thread finds that out when it looks.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[object, tuple[float, Callable[[], None]]] = {}
        self._asleep_until: float | None = None

    def begin(self, late: Callable[[], None], seconds: float) -> object:
        """Have `late` called after some seconds, unless `end` is called before."""
        token, due = object(), time.monotonic() + seconds
        with self._changed:
            self._due[token] = (due, late)
            if self._asleep_until is None:
                self._asleep_until = due
                threading.Thread(target=self._look, name="deployq-watch", daemon=True).start()
            elif due < self._asleep_until:
                self._changed.notify()
        return token

    def end(self, token: object) -> None:
        with self._changed:
            self._due.pop(token, None)

    def _look(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                late = [token for token, (due, _) in self._due.items() if due <= now]
                calls = [self._due.pop(token)[1] for token in late]
                if not calls:
                    self._asleep_until = min((due for due, _ in self._due.values()), default=None)
                    if self._asleep_until is None:
                        return
                    self._changed.wait(self._asleep_until - now)
            for call in calls:
                call()


_WATCH = _Watch()


@contextmanager
def waiting_for(what: str, hint: str, say: Say, seconds: float = SECONDS) -> Iterator[None]:
    """Say what is waited for when it takes longer than `seconds`; Ctrl-C works all the while.

    Args:
        what: what runs, for people.
        hint: how to do without it; may be empty.
        say: gets the sentence, in a thread of its own.
        seconds: how long it may take unnoticed.
    """
    sentence = "; ".join(filter(None, (f"still waiting for {what}", "Ctrl-C ends it", hint)))
    token = _WATCH.begin(lambda: say(sentence), seconds)
    try:
        with _stubborn_interrupts():
            yield
    finally:
        _WATCH.end(token)


@contextmanager
def _stubborn_interrupts() -> Iterator[None]:
    """The second Ctrl-C ends the process: the first one may be swallowed (`except: pass`)."""
    before = signal.getsignal(signal.SIGINT)
    if (
        threading.current_thread() is not threading.main_thread()
        or before is not signal.default_int_handler
    ):
        yield
        return
    pressed = False

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal pressed
        if pressed:
            os.write(2, b"interrupted\n")
            os._exit(130)
        pressed = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
