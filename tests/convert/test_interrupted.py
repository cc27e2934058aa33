"""Conversions cut short, or wanted twice at once: what is there is whole, and made once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Project
from tests.convert.conftest import SAMPLE
from tests.convert.test_trained_model import CONFIG, SUITE
from tests.small_disks import mounted

pytestmark = [pytest.mark.convert, pytest.mark.tools, pytest.mark.timeout(600)]

PUSH = ("push", "m", "--targets", "laptop")
CONVERTING = "converting model to BF16"


@pytest.fixture
def project(tmp_path: Path, python: Path) -> Project:
    assert python.exists()
    project = Project(tmp_path)
    project.write("suite.toml", SUITE)
    project.write("deployq.toml", CONFIG.format(source="model"))
    shutil.copytree(SAMPLE / "model", tmp_path / "model")
    return project


def converted(project: Project) -> list[Path]:
    """The GGUFs of the cache in full precision."""
    made = (project.folder / "cache" / "artifacts").rglob("*.gguf")
    return [file for file in made if file.stat().st_size > 8_000_000]


def left(project: Project) -> list[Path]:
    """What a conversion needs in between."""
    return list((project.folder / "cache" / "scratch").glob("*"))


def until(child: subprocess.Popen[str], line: str) -> None:
    """Wait for a line about the work."""
    assert child.stderr is not None
    for said in child.stderr:
        if said.startswith(line):
            return
    raise AssertionError(f"it ended without saying {line!r}")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_conversion_that_is_cut_short(project: Project, how: signal.Signals) -> None:
    child = project.start(*PUSH)
    until(child, CONVERTING)
    time.sleep(2)  # PyTorch is being imported, or the script is at work
    os.kill(child.pid, how)
    child.communicate(timeout=60)
    assert child.returncode == (-9 if how == signal.SIGKILL else 130)
    assert not converted(project)
    assert how == signal.SIGKILL or not left(project)
    again = project.run(*PUSH)
    assert again.code == 0, again.err
    assert len(converted(project)) == 1
    assert not left(project)


def test_two_pushes_at_once_convert_once(project: Project) -> None:
    children = [project.start(*PUSH) for _ in range(2)]
    said = [child.communicate(timeout=300)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    assert sum(CONVERTING in text for text in said) == 1
    assert len(converted(project)) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB: less than the converted model."""
    with mounted(tmp_path / "disk", "6m") as folder:
        yield folder


def test_no_room_for_what_is_converted(project: Project, small_disk: Path) -> None:
    ran = project.run(*PUSH, DEPLOYQ_CACHE_DIR=str(small_disk / "cache"))
    assert ran.code == 1
    assert "are free" in ran.err
    assert CONVERTING not in ran.err
    assert not list(small_disk.rglob("*.gguf"))
