"""The reference pages say what the program says."""

from __future__ import annotations

import pytest

from docs.tools.reference import FOLDER, pages


@pytest.mark.parametrize("name", ["commands.md", "settings.md"])
def test_it_is_current(name: str) -> None:
    held = (FOLDER / name).read_text(encoding="utf-8")
    assert held == pages()[name], "run: python -m docs.tools.reference"
