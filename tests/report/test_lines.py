"""Lines drawn by hand look as rich draws them: one look for all views."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deployq.report.lines import (
    DEFAULT_COLUMNS,
    Column,
    columns_of,
    hanging,
    styles_wanted,
    table,
    talk,
    text_of,
    wrapped,
    written,
)

TEXT = st.text("ab,-. 模é", max_size=60).map(str.strip)
CELL = st.text(
    "abc模é1", max_size=6
)  # so that no column vanishes in 20 columns: rich cuts others then


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def of_rich(renderable: object, columns: int) -> list[str]:
    console = Console(file=io.StringIO(), width=columns, highlight=False)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@given(text=TEXT, columns=st.integers(2, 30))
def test_text_is_wrapped_as_rich_wraps_it(text: str, columns: int) -> None:
    ours = [written(line) for line in wrapped(((text, ""),), columns)]
    assert ours == of_rich(Text(text), columns)
    assert all(cell_len(line) <= columns for line in ours)


@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=4),
    columns=st.integers(20, 50),
)
def test_columns_stand_as_rich_sets_them(rows: list[tuple[str, ...]], columns: int) -> None:
    theirs = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading, right in (("one", False), ("two", True), ("three", False)):
        theirs.add_column(heading, no_wrap=True, justify="right" if right else "left")
    for row in rows:
        theirs.add_row(*(Text(cell) for cell in row))
    ours = [
        Column(heading, [((row[n], ""),) for row in rows], right=n == 1)
        for n, heading in enumerate(("one", "two", "three"))
    ]
    drawn = [written(line) for line in table(ours, [""] * len(rows), columns)]
    assert drawn == of_rich(theirs, columns)


def test_brackets_and_colons_are_text() -> None:
    """Rich takes a string in a table for its own markup: "[red]" and ":warning:" would go."""
    (line,) = hanging("!", "tiny[red]:warning:.gguf", "yellow")(60)
    assert written(line) == "!  tiny[red]:warning:.gguf"


@pytest.mark.parametrize(
    ("style", "styled", "coloured", "shown"),
    [
        ("bold red", True, True, "\x1b[1;31mx\x1b[0m"),
        ("bold red", True, False, "\x1b[1mx\x1b[0m"),
        ("red", True, False, "x"),
        ("bold red", False, False, "x"),
    ],
)
def test_styles(style: str, styled: bool, coloured: bool, shown: str) -> None:
    assert written((("x", style),), styled=styled, coloured=coloured) == shown


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"TERM": "xterm"},
        {"TERM": "dumb"},
        {"FORCE_COLOR": "1"},
        {"FORCE_COLOR": ""},
        {"FORCE_COLOR": "1", "TERM": "dumb"},
        {"FORCE_COLOR": "1", "NO_COLOR": "1"},
        {"NO_COLOR": ""},
        {"TTY_COMPATIBLE": "1"},
        {"TTY_COMPATIBLE": "0"},
    ],
)
def test_styles_are_wanted_where_rich_thinks_so(
    stream: io.StringIO, environ: dict[str, str]
) -> None:
    console = Console(file=stream, _environ=environ)
    styled = console.color_system is not None
    assert styles_wanted(stream, environ) == (styled, styled and not console.no_color)


def test_columns_are_those_that_the_environment_names() -> None:
    assert columns_of({"COLUMNS": "57"}) == 57
    assert columns_of({"COLUMNS": "0"}) == columns_of({}) or DEFAULT_COLUMNS
    assert columns_of({"COLUMNS": "wide"}) == columns_of({})


def test_a_styled_line_keeps_its_styles_when_it_is_wrapped() -> None:
    pieces = list(wrapped((("one two", "bold"), (" three", "")), 9))
    assert [text_of(piece).strip() for piece in pieces] == ["one two", "three"]
    assert pieces[0][0] == ("one two", "bold")
    assert pieces[1] == (("three", ""),)


def test_talk_is_written_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """What looks like rich's markup is text: a template's `[/INST]` among them."""
    said = "warning: [bold]a[/bold] [/INST] :smile: " + "long " * 40
    talk(said)
    assert capsys.readouterr().err == said + "\n"
