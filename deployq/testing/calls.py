"""Calls of a plugin's code as a check makes them: in time, in silence, leaving all as it was."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployq.errors import DeployqError
from deployq.testing.must import must

SECONDS = 5.0
"""What asks is asked often: who waits for one answer, waits every time."""


@dataclass
class Call:
    """A call in a thread of its own: what it gave, or what it raised."""

    function: Callable[[], object]
    result: object = None
    raised: list[BaseException] = field(default_factory=list)

    def run(self) -> None:
        try:
            self.result = self.function()
        except BaseException as exc:  # noqa: BLE001  (whatever it is, the check names it)
            self.raised.append(exc)


def called(
    function: Callable[[], object], what: str, seconds: float, *, may_fail: bool = True
) -> Any:
    """What a call gives; None where it `may_fail` and raised one of deployq's own errors.

    It must end in time, print nothing, and leave folder and environment as they were.
    """
    call = Call(function)
    before = (Path.cwd(), dict(os.environ))
    with captured() as said:
        thread = threading.Thread(target=call.run, daemon=True)
        thread.start()
        thread.join(seconds)
    must(not thread.is_alive(), f"{what} does not end within {seconds:g} s")
    must(not said(), f"{what} prints: {said()!r}")
    must((Path.cwd(), dict(os.environ)) == before, f"{what} changes folder or environment")
    for exc in call.raised:
        if not (may_fail and isinstance(exc, DeployqError)):
            unlike = ", none of deployq's errors" if may_fail else ""
            message = f"{what} raises {type(exc).__name__}{unlike}: {exc}"
            raise AssertionError(message) from exc
    return call.result


@contextlib.contextmanager
def captured() -> Iterator[Callable[[], str]]:
    """What is written to stdout and stderr, by Python and past it; told once it is over."""
    with tempfile.TemporaryFile() as file:
        kept = [(number, os.dup(number)) for number in (1, 2)]
        text = io.StringIO()
        told: list[str] = []
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        try:
            for number, _ in kept:
                os.dup2(file.fileno(), number)
            with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
                yield lambda: "".join(told)
        finally:
            for number, saved in kept:
                os.dup2(saved, number)
                os.close(saved)
            file.seek(0)
            told.append(text.getvalue() + file.read().decode("utf-8", "replace"))


def kind_of(value: object) -> str:
    return f"a {type(value).__name__}"


def at_once(functions: Sequence[Callable[[], object]]) -> list[Any]:
    """What several calls give that start at the same moment, each in a thread of its own.

    Raises:
        AssertionError: one of them raised something.
    """
    gate = threading.Barrier(len(functions))

    def after_the_gate(function: Callable[[], object]) -> Callable[[], object]:
        return lambda: (gate.wait(), function())[1]

    calls = [Call(after_the_gate(function)) for function in functions]
    threads = [threading.Thread(target=call.run, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for exc in (exc for call in calls for exc in call.raised):
        raise AssertionError(f"used at once by several: {type(exc).__name__}: {exc}") from exc
    return [call.result for call in calls]
