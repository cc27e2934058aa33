"""Golden files: what people read, kept as they read it (tests/data/golden/README.md)."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import RenderableType

from deployq.report.console import plain_console
from deployq.report.lines import Sheet, wrapped, written

GOLDEN = Path(__file__).resolve().parent.parent / "data" / "golden"
Golden = Callable[..., None]


View = RenderableType | Sheet


def rendered(view: View, width: int) -> str:
    """What a plain console of that width shows, without the blanks at the ends of lines."""
    if callable(view):
        lines = [written(part) for line in view(width) for part in wrapped(line, width)]
    else:
        lines = _printed(view, width).splitlines()
    assert max(map(len, lines)) <= width
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _printed(renderable: RenderableType, width: int) -> str:
    console = plain_console(file=StringIO(), width=width, no_color=True)
    console.print(renderable)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.fixture
def golden() -> Golden:
    """Compare views at some width with tests/data/golden/NAME-WIDTH.txt."""

    def compare(name: str, width: int, *views: View) -> None:
        file = GOLDEN / f"{name}-{width}.txt"
        text = "".join(rendered(view, width) for view in views)
        if os.environ.get("DEPLOYQ_UPDATE_GOLDEN"):
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8")

    return compare
