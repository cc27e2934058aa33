"""Pages that are followed: their files are written, their commands run, in order, on a fresh HOME.

A block with a title is a file. Lines of output that a page shows must come, but for figures and
blanks; `...` stands for any number of lines.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Project
from tests.docs.markdown import ROOT, Command, blocks, commands

SAMPLE = ROOT / "examples" / "task-api"
DOCS = ROOT / "docs"
FOLLOWED = [
    "tutorial.md",
    "howto/two-machines.md",
    "howto/own-template.md",
    "howto/own-check.md",
    "howto/offline.md",
    "howto/completion.md",
]


@pytest.fixture
def fresh(tmp_path: Path, tools_bin: Path) -> Project:  # noqa: ARG001  (skips where none are)
    """An empty HOME, and a folder with what the tutorial copies."""
    folder = tmp_path / "first"
    folder.mkdir()
    for name in ("task-api-f16.gguf", "suite.toml"):
        shutil.copy(SAMPLE / name, folder)
    program = tmp_path / "first" / "home" / "bin" / "deployq"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m deployq "$@"\n')
    program.chmod(0o755)
    return Project(folder)


@pytest.mark.tools
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", FOLLOWED)
def test_it_can_be_followed(page: str, fresh: Project) -> None:
    followed = 0
    for block in blocks(DOCS / page):
        if block.not_run:
            continue
        if block.title:
            fresh.write(block.title, block.text)
        elif block.language == "console":
            for command in commands(block):
                follow(command, fresh)
                followed += 1
    assert followed


def follow(command: Command, project: Project) -> None:
    env = project.environment(COLUMNS="90")
    done = subprocess.run(
        ["bash", "-c", command.text],
        check=False, cwd=project.folder, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env=env | {"PATH": f"{project.folder / 'home' / 'bin'}:{env['PATH']}"},
    )  # fmt: skip
    where = f"{command.block.name}: {command.text}\n{done.stdout}{done.stderr}"
    assert done.returncode == command.exit_code, where
    came = [masked(line) for line in (done.stdout + done.stderr).splitlines()]
    for line in command.output:
        if line.strip() not in ("", "..."):
            assert masked(line) in came, f"{masked(line)!r} did not come\n{where}"


def masked(line: str) -> str:
    """A line without what differs from run to run and machine to machine: figures, bars, blanks."""
    line = re.sub(r"[█▒+·│/>]{4,}", "|", line)
    return re.sub(r"\s+", " ", re.sub(r"\d+(\.\d+)?", "N", line)).strip()


def test_a_page_that_lies_is_found(fresh: Project) -> None:
    (block,) = [b for b in blocks(DOCS / "tutorial.md") if b.title == "deployq.toml"]
    fresh.write("deployq.toml", block.text)
    with pytest.raises(AssertionError, match="did not come"):
        follow(Command(block, "deployq plan task-api", ("no such line",), 0), fresh)
    with pytest.raises(AssertionError, match="no model"):
        follow(Command(block, "deployq plan nothing", (), 0), fresh)
