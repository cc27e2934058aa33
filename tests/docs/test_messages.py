"""Troubleshooting quotes what deployq prints: every message is in the code, but for its names."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, blocks

PAGE = ROOT / "docs" / "troubleshooting.md"
LINES = [
    line for block in blocks(PAGE) if block.language == "text" for line in block.text.splitlines()
]


def texts(file: Path) -> set[str]:
    """The texts of a module; what is put into them is a gap."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else "\0" for p in node.values]
            found.add("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


@pytest.fixture(scope="module")
def printed() -> str:
    files = [*(ROOT / "deployq").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    return "\n".join(text for file in files for text in texts(file))


@pytest.mark.parametrize("line", LINES)
def test_it_is_a_message_of_deployq(printed: str, line: str) -> None:
    fragments = [part.strip() for part in line.split("…")]
    said = [part for part in fragments if len(part) > 2]
    assert sum(map(len, said)) >= 10, "too little to be known by"
    for part in said:
        assert part in printed


def test_another_message_is_found(printed: str) -> None:
    assert "the flux capacitor is not on this machine" not in printed
