"""Code blocks of the documentation, and what is said about them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("README.md"),
    ]
)
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->", re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """A code block; `language` is "" where it is indented, `not_run` why it is not run."""

    page: Path
    line: int
    language: str
    title: str
    text: str
    not_run: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A line of a console block, what shall be seen of its output, and its exit code."""

    block: Block
    text: str
    output: tuple[str, ...]
    exit_code: int

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)


def blocks(page: Path) -> Iterator[Block]:
    """The code blocks of a page. `<!-- not run: WHY -->` stands right before a block."""
    reason = ""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "html_block":
            found = _NOT_RUN.search(token.content)
            reason = found[1] if found else ""
        elif token.type in ("fence", "code_block"):
            language, _, more = token.info.strip().partition(" ")
            title = _TITLE.search(more)
            line = (token.map or [0])[0] + 1
            yield Block(page, line, language, title[1] if title else "", token.content, reason)
            reason = ""


def commands(block: Block) -> Iterator[Command]:
    """The commands of a console block: lines after `$ `, or, where there is no `$`, all lines."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if not any(line.startswith("$ ") for line in lines):
        lines = [f"$ {line}" for line in lines if line.strip() and not line.startswith((" ", "#"))]
    parts = re.split(r"^\$ ", "\n".join(lines), flags=re.MULTILINE)
    for part in parts[1:]:
        text, *output = part.splitlines()
        code = re.search(r"# exit code (\d+)", text)
        yield Command(block, text, tuple(output), int(code[1]) if code else 0)
