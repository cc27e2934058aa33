"""What TerminalProgress shows, on a terminal (a real pty) and off it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from deployq.report.progress import TerminalProgress, amount
from tests.terminals import terminal


def off_terminal(
    work: Callable[[TerminalProgress], None], *, quiet: bool = False, line_seconds: float = 30
) -> str:
    out = StringIO()
    with TerminalProgress(Console(file=out), quiet=quiet, line_seconds=line_seconds) as progress:
        work(progress)
    return out.getvalue()


def two_tasks(progress: TerminalProgress) -> None:
    progress("Q4_K_M", 0, 291, "tensors")
    progress("upload task-api:q4_k_m", 2**20, 4 * 2**20, "bytes")
    progress("Q4_K_M", 291, 291, "tensors")
    progress("upload task-api:q4_k_m", 4 * 2**20, 4 * 2**20, "bytes")


def test_off_a_terminal_a_finished_task_is_a_line() -> None:
    lines = off_terminal(two_tasks).splitlines()
    assert [line.rsplit(" in ", 1)[0] for line in lines] == [
        "Q4_K_M: 291 tensors",
        "upload task-api:q4_k_m: 4.0 MiB",
    ]
    assert lines[1].endswith("/s"), "bytes have a rate"


def test_off_a_terminal_a_long_task_says_now_and_then_how_far_it_is() -> None:
    name = f"upload {'very-long-' * 6}name:q4_k_m on 192.168.1.20"

    def work(progress: TerminalProgress) -> None:
        progress(name, 2**20, 9 * 2**20, "bytes")
        time.sleep(0.5)
        progress(name, 2 * 2**20, 9 * 2**20, "bytes")
        progress(name, 3 * 2**20, 9 * 2**20, "bytes")

    (line,) = off_terminal(work, line_seconds=0.4).splitlines()
    assert re.fullmatch(
        r"upload very-long-\S+…\S+ on 192\.168\.1\.20: 2\.0 MiB/9\.0 MiB, "
        r"[12](\.\d)? MiB/s, \d\.\d s left",
        line,
    ), line


def test_an_unfinished_task_is_no_line() -> None:
    assert off_terminal(lambda progress: progress("hash", 5, None, "bytes")) == ""


def test_the_end_told_twice_is_one_line_and_a_second_run_another() -> None:
    def work(progress: TerminalProgress) -> None:
        for done in (24, 24, 0, 24):
            progress("task-api:q8_0", done, 24, "prompts")

    assert off_terminal(work).count("24 prompts") == 2


def test_quiet_shows_nothing() -> None:
    assert off_terminal(two_tasks, quiet=True) == ""
    with terminal() as (console, text):
        with TerminalProgress(console, quiet=True) as progress:
            two_tasks(progress)
        assert text() == ""


def test_a_terminal_gets_bars_with_units() -> None:
    with terminal() as (console, text):
        with TerminalProgress(console) as progress:
            two_tasks(progress)
        shown = text()
    assert "291/291 tensors" in shown
    assert "4.0 MiB/4.0 MiB" in shown
    assert "━" in shown


def refreshing() -> int:
    """How many bars are kept up to date; other tests' servers may end their threads meanwhile."""
    return sum(type(thread).__module__ == "rich.live" for thread in threading.enumerate())


def test_no_bar_stands_when_nothing_is_under_way() -> None:
    """Else the next refresh would write over what was printed since."""
    with terminal() as (console, text), TerminalProgress(console) as progress:
        threads = refreshing()
        progress("Q4_K_M", 0, 291, "tensors")
        assert refreshing() == threads + 1
        progress("Q4_K_M", 291, 291, "tensors")
        deadline = time.monotonic() + 5  # rich tells its thread to end, and doesn't wait
        while refreshing() > threads and time.monotonic() < deadline:
            time.sleep(0.01)
        assert refreshing() == threads
        console.print("a result", highlight=False)
        assert text().rstrip().endswith("a result")


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_no_color_is_honoured(environ: dict[str, str], coloured: bool) -> None:
    with terminal(environ) as (console, text):
        with TerminalProgress(console) as progress:
            two_tasks(progress)
        assert ("\x1b[38" in text()) is coloured


def interrupted(console: Console) -> None:
    with TerminalProgress(console) as progress:
        progress("Q4_K_M", 1, 291, "tensors")
        raise KeyboardInterrupt


def test_the_cursor_comes_back_after_an_interrupt() -> None:
    with terminal() as (console, text):
        with pytest.raises(KeyboardInterrupt):
            interrupted(console)
        shown = text()
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_many_threads_may_call_it() -> None:
    def work(progress: TerminalProgress) -> None:
        def count(name: str) -> None:
            for done in range(101):
                progress(name, done, 100, "tensors")

        threads = [threading.Thread(target=count, args=(f"job-{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    lines = off_terminal(work).splitlines()
    assert sorted(line.split(":")[0] for line in lines) == [f"job-{n}" for n in range(8)]


@pytest.mark.parametrize(
    ("done", "total", "unit", "text"),
    [
        (12, 291, "tensors", "12/291 tensors"),
        (7, None, "prompts", "7 prompts"),
        (2**20, 3 * 2**20, "bytes", "1.0 MiB/3.0 MiB"),
        (512, None, "bytes", "512 B"),
    ],
)
def test_amounts(done: float, total: float | None, unit: str, text: str) -> None:
    assert amount(done, total, unit) == text
