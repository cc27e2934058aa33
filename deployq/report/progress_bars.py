"""The bars of `TerminalProgress`: what rich draws on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, TextColumn
from rich.progress import Progress as Bars
from rich.progress import Task as Bar
from rich.table import Column
from rich.text import Text

from deployq.report.progress import amount
from deployq.report.wording import seconds_text
from deployq.units import format_bytes


def progress_bars(console: Console) -> Bars:
    """Bars on a console, none of them drawn yet."""
    return Bars(
        TextColumn("{task.description}", markup=False, table_column=Column(min_width=24)),
        BarColumn(bar_width=24),
        _Amount(),
        _Pace(),
        console=console,
        redirect_stdout=False,  # stdout is data
    )


class _Amount(ProgressColumn):
    """How much is done, in the task's own unit."""

    def render(self, task: Bar) -> Text:
        return Text(amount(task.completed, task.total, task.fields["unit"]))


class _Pace(ProgressColumn):
    """The rate of bytes and the time that is left; after the end, how long it took."""

    def render(self, task: Bar) -> Text:
        if task.finished:
            return Text(seconds_text(task.finished_time or 0), style="green")
        parts = []
        if task.fields["unit"] == "bytes" and task.speed:
            parts.append(f"{format_bytes(int(task.speed))}/s")
        if task.time_remaining is not None:
            parts.append(f"{seconds_text(task.time_remaining)} left")
        return Text(", ".join(parts), style="dim")
