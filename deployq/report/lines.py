"""Lines of styled text for a terminal, drawn without what makes rich slow to start.

A plan is the one view whose first line people wait for: half of its time went into importing
rich's console and tables. What it needs of them (wrapping, columns, eight colours) is here; it
follows rich's rules, so that all views look alike. Widths of characters are rich's own.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TextIO

from rich.cells import cell_len, chop_cells, set_cell_size

from deployq.records import dataclass

Run = tuple[str, str]
"""A text and its style: words of `SGR`, or nothing."""
Line = tuple[Run, ...]
Sheet = Callable[[int], Iterable[Line]]
"""Lines for a terminal of so many columns; a line that is too long is wrapped."""

ATTRIBUTES = {"bold": "1", "dim": "2"}
SGR = ATTRIBUTES | {
    "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36",
}  # fmt: skip
DEFAULT_COLUMNS = 80
_WORD = re.compile(r"\s*\S+\s*")
_GAP = 2


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, its cells, and whether they stand to the right."""

    heading: str
    cells: Sequence[Line]
    right: bool = True

    @property
    def width(self) -> int:
        return max(cell_len(self.heading), *(width_of(cell) for cell in self.cells))


# ---------------------------------------------------------------- on its way out


def draw(sheet: Sheet, *, err: bool = False) -> None:
    """Something for people: data, on stdout; with `err` talk, on stderr."""
    stream = sys.stderr if err else sys.stdout
    styled, coloured = styles_wanted(stream, os.environ)
    columns = columns_of(os.environ)
    for line in sheet(columns):
        for part in wrapped(line, columns):
            stream.write(f"{written(part, styled=styled, coloured=coloured)}\n")
    stream.flush()


def talk(text: str) -> None:
    """A line for people, on stderr, as it is."""
    print(text, file=sys.stderr)  # noqa: T201


def written(line: Line, *, styled: bool = False, coloured: bool = False) -> str:
    """A line with the escape sequences of its styles, without blanks at its end."""
    if not styled:
        return text_of(line).rstrip()
    runs = groupby(line, key=itemgetter(1))
    pieces = ((text_of(tuple(run)), style) for style, run in runs)
    return "".join(_styled(text, style, coloured=coloured) for text, style in pieces).rstrip()


def _styled(text: str, style: str, *, coloured: bool) -> str:
    known = SGR if coloured else ATTRIBUTES
    codes = ";".join(known[word] for word in style.split() if word in known)
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and text else text


def styles_wanted(stream: TextIO, environ: Mapping[str, str]) -> tuple[bool, bool]:
    """Whether a stream takes styles at all, and whether colours among them, as rich decides it."""
    forced, compatible = environ.get("FORCE_COLOR"), environ.get("TTY_COMPATIBLE")
    if forced is not None:
        terminal = forced != ""
    elif compatible in ("0", "1"):
        terminal = compatible == "1"
    else:
        terminal = stream.isatty()
    styled = terminal and environ.get("TERM", "").lower() not in ("dumb", "unknown")
    return styled, styled and not environ.get("NO_COLOR")


def columns_of(environ: Mapping[str, str]) -> int:
    """The width of the terminal, or what COLUMNS says it is."""
    said = environ.get("COLUMNS", "")
    if said.isdigit():
        return int(said) or DEFAULT_COLUMNS
    for stream in (0, 1, 2):
        try:
            return os.get_terminal_size(stream).columns or DEFAULT_COLUMNS
        except OSError:
            continue
    return DEFAULT_COLUMNS


# ---------------------------------------------------------------- one line


def text_of(line: Line) -> str:
    """A line without its styles."""
    return "".join(text for text, _ in line)


def width_of(line: Line) -> int:
    """Columns of the terminal that a line takes."""
    return cell_len(text_of(line))


def hanging(mark: str, text: str, style: str = "") -> Sheet:
    """A marked text whose further lines stand under its first."""
    indent = 1 + _GAP

    def lines(columns: int) -> Iterator[Line]:
        for number, part in enumerate(wrapped(((text, style),), max(columns - indent, 1))):
            yield ((f"{'' if number else mark:<{indent}}", style), *part)

    return lines


def wrapped(line: Line, columns: int) -> Iterator[Line]:
    """A line in pieces that are no wider than a terminal, broken between words where possible."""
    start = 0
    for end in (*_breaks(text_of(line), columns), None):
        yield _part(line, start, end)
        start = end or 0


def _breaks(text: str, columns: int) -> Iterator[int]:
    """Where new lines begin. Words that are wider than a line are cut."""
    used = 0
    for word in _WORD.finditer(text):
        width = cell_len(word[0].rstrip())
        if used + width <= columns:
            used += cell_len(word[0])
            continue
        if used:
            yield word.start()
        pieces = chop_cells(word[0], columns) if width > columns else [word[0]]
        place = word.start()
        for piece in pieces[:-1]:
            place += len(piece)
            yield place
        used = cell_len(pieces[-1])


def _part(line: Line, start: int, end: int | None) -> Line:
    """The characters `start` to `end` of a line."""
    runs, place = [], 0
    for text, style in line:
        piece = text[max(start - place, 0) : None if end is None else max(end - place, 0)]
        place += len(text)
        if piece:
            runs.append((piece, style))
    return tuple(runs)


# ---------------------------------------------------------------- columns


def table(columns: Sequence[Column], styles: Sequence[str], room: int) -> Iterator[Line]:
    """A row of headings in bold, then the rows, each in its style; two blanks between columns.

    Where there isn't room enough, every column gives way alike.
    """
    widths = _fitted([*(c.width + _GAP for c in columns[:-1]), columns[-1].width], room)
    headings: list[Line] = [((column.heading, ""),) for column in columns]
    yield _row(headings, columns, widths, "bold")
    for number, style in enumerate(styles):
        yield _row([column.cells[number] for column in columns], columns, widths, style)


def _row(
    cells: Sequence[Line], columns: Sequence[Column], widths: Sequence[int], style: str
) -> Line:
    runs: list[Run] = []
    for cell, column, width in zip(cells, columns, widths, strict=True):
        gap = 0 if column is columns[-1] else min(_GAP, width)
        shown = _cut(cell, width - gap)
        blanks = (" " * (width - gap - width_of(shown)), "")
        runs += [blanks, *shown] if column.right else [*shown, blanks]
        runs.append((" " * gap, ""))
    return tuple((text, f"{style} {own}".strip()) for text, own in runs if text)


def _cut(cell: Line, width: int) -> Line:
    if width_of(cell) <= width:
        return cell
    if width < 1:
        return ()
    text = text_of(cell)
    shown = set_cell_size(text, width - 1)
    kept = len(shown) - (not text.startswith(shown))  # half of a wide character is a blank
    ((_, style),) = _part(cell, kept, kept + 1)
    return (*_part(cell, 0, kept), (f"{shown[kept:]}…", style))


def _fitted(widths: list[int], room: int) -> list[int]:
    """The widths, lessened by equal shares of what is too much."""
    excess, fitted = sum(widths) - room, []
    for number, width in enumerate(widths):
        share = min(width, round(excess / (len(widths) - number))) if excess > 0 else 0
        excess -= share
        fitted.append(width - share)
    return fitted
