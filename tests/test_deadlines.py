"""Questions that are given up in time, and changes that an interrupt does not cut in two."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from deployq.deadlines import in_background, to_its_end, within


def test_an_answer_in_time_is_given() -> None:
    assert within(30, lambda: 5) == 5
    assert in_background(lambda: 5).result(30) == 5


def test_what_the_question_raises_is_raised() -> None:
    def ask() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        within(30, ask)


def test_a_late_answer_is_left_behind() -> None:
    release = threading.Event()
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        within(0.1, release.wait)
    assert time.monotonic() - started < 10
    release.set()


@pytest.mark.parametrize(("grace_seconds", "is_done"), [(30, True), (0.1, False)])
def test_an_interrupt_is_raised_once_the_change_is_done_or_late(
    grace_seconds: float, is_done: bool
) -> None:
    begun, release, done = threading.Event(), threading.Event(), threading.Event()

    def change() -> None:
        begun.set()
        release.wait(60)
        done.set()

    def interrupt() -> None:
        begun.wait(60)
        time.sleep(0.3)  # the main thread waits by now
        os.kill(os.getpid(), signal.SIGINT)
        if is_done:
            time.sleep(0.3)
            release.set()

    helper = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    helper.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            to_its_end(change, grace_seconds)
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.is_set() is is_done
    release.set()
    helper.join()
