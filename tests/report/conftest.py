"""Golden files: what people read, kept as they read it (tests/data/golden/README.md)."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

GOLDEN = Path(__file__).resolve().parent.parent / "data" / "golden"
Golden = Callable[[str, RenderableType, int], None]


def rendered(renderable: RenderableType, width: int) -> str:
    """What a plain console of that width shows, without the blanks at the ends of lines."""
    console = Console(file=StringIO(), width=width, no_color=True, highlight=False)
    console.print(renderable)
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return "".join(f"{line.rstrip()}\n" for line in lines)


@pytest.fixture
def golden() -> Golden:
    """Compare a renderable at some width with tests/data/golden/NAME-WIDTH.txt."""

    def compare(name: str, renderable: RenderableType, width: int) -> None:
        file = GOLDEN / f"{name}-{width}.txt"
        text = rendered(renderable, width)
        if os.environ.get("DEPLOYQ_UPDATE_GOLDEN"):
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8")

    return compare
