"""Template parity: both sides of every difference for people, and as a JSON document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deployq.report.wording import BAD, GOOD, count, plain
from deployq.types import ConversationParity, Fault, ParityReport, ParityStatus

WIDE = 100
"""Columns from which both sides stand beside each other."""

ALIKE = 24
"""Characters behind a difference by which two of them count as one."""

HERE = "▶"
_ENDS = "(the end)"
_MARKS: dict[ParityStatus, tuple[str, str]] = {
    "same": (f"{GOOD} same", "green"),
    "differs": (f"{BAD} differs", "red"),
    "unknown": ("– not compared", "dim"),
}


def parity_view(report: ParityReport) -> RenderableType:
    """One tag: verdict, conversations, faults, and each difference with its place marked."""
    return Group(*_parts(report))


def _parts(report: ParityReport) -> Iterator[RenderableType]:
    yield _headline(report)
    yield ""
    yield _conversations(report.conversations)
    for fault in report.faults:
        yield ""
        yield from _fault(fault)
    for group in _alike(report.differing):
        yield ""
        yield _Sides(group)
    for note in report.notes:
        yield ""
        yield Text(f"  {plain(note)}", style="dim")


def _headline(report: ParityReport) -> Text:
    mark, style = (GOOD, "green") if report.ok else (BAD, "red")
    compared = [row for row in report.conversations if row.status != "unknown"]
    if report.ok and not compared:
        verdict = "nothing to compare"
    elif report.differing:
        verdict = (
            f"{len(report.differing)} of {count(len(compared), 'conversation')} differ from the "
            "model's own template"
        )
    else:
        verdict = f"{count(len(compared), 'conversation')} as by the model's own template"
    return Text.assemble((f"{mark} ", style), (plain(report.tag), "bold"), f"  {verdict}")


def _conversations(rows: Sequence[ConversationParity]) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        mark, style = _MARKS[row.status]
        table.add_row(row.name, Text(mark, style=style), Text(plain(row.reason)))
    return Padding(table, (0, 0, 0, 2))


def _fault(fault: Fault) -> Iterator[RenderableType]:
    yield Text.assemble((f"  {BAD} {fault.kind}: ", "bold red"), plain(fault.message))
    if fault.hint:
        yield Text.assemble(("    try: ", "cyan"), plain(fault.hint))


# ---------------------------------------------------------------- side by side


def _alike(rows: Sequence[ConversationParity]) -> list[list[ConversationParity]]:
    """Differences where the model's own goes on alike behind the same words are shown once."""
    groups: dict[tuple[str, str], list[ConversationParity]] = {}
    for row in rows:
        if found := row.difference:
            groups.setdefault((found.before, found.model[:ALIKE]), []).append(row)
    return list(groups.values())


class _Sides:
    """One difference: beside each other where there is room, else one below the other."""

    def __init__(self, rows: Sequence[ConversationParity]) -> None:
        self.rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names = ", ".join(row.name for row in self.rows)
        difference = self.rows[0].difference
        assert difference is not None, "only rows with a difference are shown"
        place = f"after {count(difference.position, 'character')}"
        yield Text.assemble((f"  {names}", "bold"), f"  the first difference: {place}")
        sides = (
            ("model's own", _side(difference.before, difference.model)),
            ("server", _side(difference.before, difference.server)),
        )
        yield Padding(_beside(sides) if options.max_width >= WIDE else _below(sides), (0, 0, 0, 2))


def _beside(sides: Sequence[tuple[str, Text]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), expand=True)
    for title, _ in sides:
        table.add_column(title, ratio=1, overflow="fold", header_style="dim")
    table.add_row(*(text for _, text in sides))
    return table


def _below(sides: Sequence[tuple[str, Text]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for title, text in sides:
        table.add_row(title, text)
    return table


def _side(before: str, after: str) -> Text:
    """A prompt around the difference; blanks at its ends can be seen."""
    text = Text(overflow="fold")
    text.append(plain(before), style="dim")
    text.append(HERE, style="bold red")
    text.append(plain(after) if after else _ENDS, style="" if after else "dim")
    return text
