"""Progress of work on stderr: bars on a terminal, else a line now and then and at a task's end."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from deployq import report
from deployq.report.wording import both_ends, seconds_text
from deployq.units import format_bytes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

NAME_CHARACTERS = 48
LINE_SECONDS = 30.0
"""How often a task says how far it is, where there are no bars."""


@dataclass
class _Task:
    """One task under way; `bar` is its bar where there are bars.

    It had done `first` when it was first heard of: what was there already makes no rate.
    """

    first: float
    started: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)
    bar: TaskID | None = None


class TerminalProgress:
    """A `types.Progress` that shows what is going on; may be called from any thread.

    Bars stand only while work is under way: with the last task's end they become ordinary
    lines, so that whoever prints next is not overwritten. NO_COLOR is honoured by the console.
    What draws them is imported with the first call: most commands never come to one.

    Args:
        console: where to show it; stderr by default.
        quiet: show nothing at all.
        line_seconds: how often an unfinished task gets a line, where there are no bars.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        quiet: bool = False,
        line_seconds: float = LINE_SECONDS,
    ) -> None:
        self._given = console
        self._line_seconds = line_seconds
        self._quiet = quiet
        self._lock = threading.Lock()
        self._tasks: dict[tuple[str, str], _Task] = {}
        self._ended: set[tuple[str, str]] = set()
        self._bars: Bars | None = None

    @cached_property
    def _console(self) -> Console:
        return self._given or report.stderr()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._tasks.clear()
            self._stop()

    def __call__(self, task: str, done: float, total: float | None, unit: str) -> None:
        if self._quiet:
            return
        with self._lock:
            key, finished = (task, unit), total is not None and done >= total
            if finished and key in self._ended:
                return
            self._ended.discard(key)
            known = self._tasks.setdefault(key, _Task(done))
            if self._console.is_interactive:
                self._draw(known, task, done, total, unit)
            elif not finished:
                self._say(known, task, done, total, unit)
            if finished:
                del self._tasks[key]
                self._ended.add(key)
                self._finish(known, task, done, unit)

    def _draw(self, known: _Task, task: str, done: float, total: float | None, unit: str) -> None:
        if self._bars is None:
            self._bars = report.progress_bars(self._console)
            self._bars.start()
        if known.bar is None:
            name = both_ends(task, NAME_CHARACTERS)
            known.bar = self._bars.add_task(name, total=total, unit=unit)
        self._bars.update(known.bar, completed=done, total=total)

    def _finish(self, known: _Task, task: str, done: float, unit: str) -> None:
        if self._bars is None:
            took = time.monotonic() - known.started
            rate = pace(done - known.first, took, None, unit)
            self._line(task, f"{amount(done, None, unit)} in {seconds_text(took)}", rate)
        elif not self._tasks:
            self._stop()

    def _say(self, known: _Task, task: str, done: float, total: float | None, unit: str) -> None:
        """How far it is, if nothing was said of it for long."""
        now = time.monotonic()
        if now - known.said >= self._line_seconds:
            known.said = now
            left = None if total is None else total - done
            self._line(
                task,
                amount(done, total, unit),
                pace(done - known.first, now - known.started, left, unit),
            )

    def _line(self, task: str, amount: str, pace: str) -> None:
        parts = ", ".join(filter(None, (amount, pace)))
        line = f"{both_ends(task, NAME_CHARACTERS)}: {parts}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _stop(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def amount(done: float, total: float | None, unit: str) -> str:
    """How much is done: "12/291 tensors", "12.3 MiB/54.2 MiB", "7 prompts"."""
    if unit == "bytes":
        of = "" if total is None else f"/{format_bytes(int(total))}"
        return f"{format_bytes(int(done))}{of}"
    of = "" if total is None else f"/{total:.0f}"
    return f"{done:.0f}{of} {unit}"


def pace(done: float, seconds: float, left: float | None, unit: str) -> str:
    """What was done in that time as a rate (of bytes), and the time that the rest takes."""
    if done <= 0 or seconds <= 0:
        return ""
    rate = f"{format_bytes(int(done / seconds))}/s" if unit == "bytes" else ""
    rest = "" if left is None else f"{seconds_text(left * seconds / done)} left"
    return ", ".join(filter(None, (rate, rest)))
