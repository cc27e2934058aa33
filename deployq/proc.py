"""The only place that starts a subprocess. No shell, ever.

A child runs in its own process group with its standard input closed. When the caller is
interrupted (Ctrl-C, an exception in `on_line`), the whole group is ended before the exception
goes on, so no quantizer is left behind eating the disk.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from deployq.errors import BackendError, ToolMissing
from deployq.records import dataclass

TAIL_LINES = 40
GRACE_SECONDS = 3.0


class Child(subprocess.Popen[bytes]):
    """A running program; `timed_out` once it was ended for taking too long."""

    timed_out = False


_started: weakref.WeakSet[Child] = weakref.WeakSet()
"""What `start` started; those that ended are among them."""


@dataclass(frozen=True)
class Finished:
    """A child that has ended: all its lines in `stdout`, the last ones in `tail`."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    tail: str


def run(
    argv: Sequence[str | Path],
    *,
    on_line: Callable[[str], None] | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_seconds: float | None = None,
    check: bool = True,
) -> Finished:
    """Run a program to its end, its stdout and stderr read as one stream of lines.

    Args:
        argv: the program and its arguments; never passed to a shell.
        on_line: called with each line, without its end; a carriage return ends one too.
        env: variables laid over this process's own.
        timeout_seconds: None waits for ever.
        check: a non-zero exit raises.

    Raises:
        ToolMissing: there is no such program, or it can't be executed.
        BackendError: it failed (with its last words), or ran out of time.
    """
    command = tuple(os.fspath(part) for part in argv)
    lines: list[str] = []
    with spawn(command, cwd=cwd, env=env, timeout_seconds=timeout_seconds) as child:
        assert child.stdout is not None
        for line in _lines(child.stdout):
            lines.append(line)
            if on_line is not None:
                on_line(line)
        returncode = child.wait()
    finished = Finished(
        command, returncode, "\n".join(lines), "\n".join(deque(lines, maxlen=TAIL_LINES))
    )
    if child.timed_out:
        raise BackendError(f"{command[0]} did not end within {timeout_seconds:g} s")
    if check and returncode:
        raise BackendError(describe_failure(finished))
    return finished


CRASHES = frozenset(
    {signal.SIGSEGV, signal.SIGILL, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGTRAP}
)
"""Signals by which a program ends through a fault of its own or of its build."""


def signal_words(sign: int) -> str:
    """A signal in words: "segmentation fault"."""
    # macOS adds the number: "Segmentation fault: 11"
    return (signal.strsignal(sign) or f"signal {sign}").partition(":")[0].lower()


def crash_of(returncode: int) -> signal.Signals | None:
    """The signal of a crash; None where a program ended in another way.

    A shell between reports it as 128 and the signal's number.
    """
    number = -returncode if returncode < 0 else returncode - 128
    return next((sign for sign in CRASHES if sign == number), None)


def describe_exit(returncode: int) -> str:
    """How a program ended, in words that follow its name: "crashed (segmentation fault)"."""
    if sign := crash_of(returncode):
        return f"crashed ({signal_words(sign)})"
    if returncode == -signal.SIGKILL:
        return "was killed (SIGKILL), as a system does that runs out of memory"
    if returncode < 0:
        names = {sign.value: sign.name for sign in signal.Signals}
        return f"was ended by {names.get(-returncode, f'signal {-returncode}')}"
    return f"failed ({returncode})"


def ending_of(child: Child, patience_seconds: float = 1.0) -> int | None:
    """How a program ended whose connection broke; None: it still runs.

    It breaks its connections before it can be waited for.
    """
    try:
        return child.wait(patience_seconds)
    except subprocess.TimeoutExpired:
        return None


def describe_failure(finished: Finished) -> str:
    """Why a child failed, in words, with the last lines that it printed."""
    said = finished.tail.strip() or "it printed nothing"
    return f"{Path(finished.argv[0]).name} {describe_exit(finished.returncode)}:\n{said}"


@contextlib.contextmanager
def spawn(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: IO[bytes] | int = subprocess.PIPE,
    timeout_seconds: float | None = None,
) -> Iterator[Child]:
    """Start a program; inside the block it runs, after the block its whole group is gone."""
    child = start(argv, cwd=cwd, env=env, stdout=stdout)
    try:
        with deadline(child, timeout_seconds):
            yield child
    finally:
        stop(child)
        if child.stdout is not None:
            child.stdout.close()


@contextlib.contextmanager
def deadline(child: Child, seconds: float | None) -> Iterator[None]:
    """Inside the block, end a child once the time is up; None: never."""
    if seconds is None:
        yield
        return

    def expire() -> None:
        child.timed_out = True
        stop(child)

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def start(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    is_asked: bool = False,
    stdout: IO[bytes] | int = subprocess.PIPE,
) -> Child:
    """Start a program that outlives the call; the caller ends it with `stop`.

    Args:
        is_asked: the caller writes to its standard input, which else is empty.

    Raises:
        ToolMissing: there is no such program, or it can't be executed.
    """
    try:
        child = Child(
            list(argv),
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            stdin=subprocess.PIPE if is_asked else subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        _started.add(child)
        return child
    except OSError as exc:
        why = exc.strerror if exc.filename in (None, argv[0]) else f"{exc.strerror}: {exc.filename}"
        raise ToolMissing(f"cannot run {argv[0]}: {why}", hint="deployq doctor") from exc


def stop(child: subprocess.Popen[bytes], grace_seconds: float = GRACE_SECONDS) -> None:
    """End a child and its group: first asked (SIGTERM), then made to (SIGKILL).

    What the child started goes with it, even where the child itself had ended already. A second
    Ctrl-C cuts the time of grace short.
    """
    if child.returncode is not None:  # reaped: its number may be another program's by now
        return
    try:
        _signal_group(child, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(grace_seconds)
    finally:
        _signal_group(child, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(grace_seconds)


def stop_all() -> None:
    """End every child that still runs: threads that wait for one don't see an interrupt."""
    for child in list(_started):
        if child.poll() is None:
            stop(child)


def _signal_group(child: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, sign)


def _lines(stream: IO[bytes]) -> Iterator[str]:
    """Lines of a byte stream as they come; newline or carriage return; bad UTF-8 is replaced."""
    rest = b""
    while chunk := os.read(stream.fileno(), 65536):
        *whole, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in whole)
    if rest:
        yield rest.decode("utf-8", "replace")
