"""stdout and stderr as shells hand them over: cut short, closed, full, in an encoding of old."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deployq.tags.lockfile import Lockfile
from tests.cli.conftest import CONFIG, Project

ENCODINGS = ("ascii", "latin-1", "cp1252", "koi8-r")
SECONDS = 300


def shell(project: Project, line: str, **env: str) -> subprocess.CompletedProcess[str]:
    """What bash makes of a line, in which `deployq` is this deployq."""
    whole = f'deployq() {{ "{sys.executable}" -m deployq "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", whole],
        cwd=project.folder,
        env=project.environment(**env),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


# ---------------------------------------------------------------- readers that leave


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("plan tiny", 0),
        ("plan tiny --json", 0),
        ("guide", 0),
        ("--help", 0),
        ("completion bash", 0),
        ("plan tiny --memory 1MB --kind vram", 3),
        ("plan tny", 2),
    ],
)
def test_whoever_leaves_changes_no_exit_code(project: Project, command: str, code: int) -> None:
    for line in (f"deployq {command} | true", f"deployq {command} 2>&1 | head -c 1"):
        ran = shell(project, f"{line}; echo code ${{PIPESTATUS[0]}}")
        assert f"code {code}" in ran.stdout, ran.stderr
        assert "Traceback" not in ran.stderr + ran.stdout
        assert "Exception ignored" not in ran.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_from_the_start(project: Project, closed: str) -> None:
    ran = shell(project, f"deployq plan tiny --markdown {closed}; echo code $?")
    assert "code 0" in ran.stdout, ran.stderr
    assert "Traceback" not in ran.stderr
    assert "tiny" in ran.stdout or ">&-" in closed.replace("2>&-", "")
    assert sorted(p.name for p in project.folder.iterdir() if p.suffix == ".toml") == [
        "deployq.toml",
        "suite.toml",
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("command", ["plan tiny", "plan tiny --json", "config"])
def test_no_room_for_what_is_shown(project: Project, command: str) -> None:
    ran = shell(project, f"deployq {command} > /dev/full; echo code $?")
    assert "code 1" in ran.stdout
    assert "error: stdout can't be written: No space left on device" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert shell(project, f"deployq {command} 2> /dev/full; echo code $?").stdout[-7:] == "code 0\n"


@pytest.mark.tools
def test_a_push_that_nobody_listens_to_is_done(project: Project, tools_bin: Path) -> None:
    assert tools_bin
    ran = shell(project, "deployq push tiny 2>&1 | true; echo code ${PIPESTATUS[0]}")
    assert ran.stdout == "code 0\n", ran.stderr
    assert len(Lockfile.load(project.folder / "deployq.lock").entries) == 4


# ---------------------------------------------------------------- encodings


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "command",
    [
        "plan tiny",
        "plan tiny --explain Q8_0",
        "plan tiny --markdown",
        "doctor",
        "profile",
        "guide",
        "config --all",
        "inspect tiny-f16.gguf",
        "--help",
        "plan tnÿ模",
    ],
)
def test_an_encoding_without_our_marks(project: Project, command: str, encoding: str) -> None:
    expected = project.run(*command.split())
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    child = subprocess.run(
        [sys.executable, "-m", "deployq", *command.split()],
        cwd=project.folder,
        env=project.environment(**env),
        capture_output=True,
        check=False,
    )
    assert child.returncode == expected.code, child.stderr
    assert b"Traceback" not in child.stderr
    shown = child.stdout.decode(encoding, "replace")
    if command == "plan tiny":
        assert "+ fits" in shown
        assert "✓ fits" in expected.out


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_says_the_same_in_every_encoding(project: Project, encoding: str) -> None:
    project.write("deployq.toml", CONFIG.replace("parameters =", 'system = "ä模🚀"\nparameters ='))
    ran = subprocess.run(
        [sys.executable, "-m", "deployq", "config", "--json"],
        cwd=project.folder,
        env=project.environment(PYTHONIOENCODING=encoding, PYTHONUTF8="0"),
        capture_output=True,
        check=True,
    )
    expected = project.run("config", "--json")
    assert expected.code == 0
    assert json.loads(ran.stdout.decode(encoding)) == expected.json
    assert "ä模🚀" in expected.out


# ---------------------------------------------------------------- names that no name should be


ODD = (
    "-x",
    "--",
    "12345",
    ":",
    "[red]",
    "a b",
    " ",
    "a\nb",
    "a\tb",
    "x" * 300,
    "x" * 5000,
    "~nobody",
)


@pytest.mark.parametrize("name", ODD, ids=lambda name: repr(name[:9]))
def test_odd_names_are_told_as_they_are(project: Project, name: str) -> None:
    for command in ("plan", "inspect", "push"):
        ran = project.run(command, "--", name)
        assert ran.code == 2, ran.err
        assert "Traceback" not in ran.err
        assert "error: " in ran.err
    ran = project.run("plan", "tiny", "--targets", name)
    assert ran.code == 2, ran.err
    assert "Traceback" not in ran.err


def test_a_file_whose_name_is_no_text(project: Project) -> None:
    odd = os.fsencode(project.folder) + b"/\xff.gguf"
    shutil.copyfile(project.model, odd)
    ran = subprocess.run(
        [sys.executable, "-m", "deployq", "inspect", odd],
        cwd=project.folder,
        env=project.environment(COLUMNS="400"),
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert b"\\udcff.gguf" in ran.stdout


# ---------------------------------------------------------------- folders that can't be written


@pytest.mark.parametrize(
    "command",
    ["plan tiny", "plan tiny --json", "config", "inspect tiny-f16.gguf", "cache", "profile"],
)
def test_a_home_and_a_tmpdir_that_are_none(project: Project, command: str) -> None:
    project.write("deployq.toml", CONFIG.replace('cache = "cache"\n', ""))
    nowhere = str(project.model / "home")
    ran = project.run(*command.split(), HOME=nowhere, TMPDIR=nowhere)
    assert ran.code == 0, ran.err
    assert "Traceback" not in ran.err


@pytest.mark.tools
def test_a_push_without_a_home(project: Project, tools_bin: Path) -> None:
    assert tools_bin
    project.write("deployq.toml", CONFIG.replace('cache = "cache"\n', ""))
    nowhere = str(project.model / "home")
    ran = project.run("push", "tiny", "--quants", "Q8_0", HOME=nowhere, TMPDIR=nowhere)
    assert ran.code == 1
    assert nowhere in ran.err
    assert "try: set `cache` in deployq.toml" in ran.err
    assert "Traceback" not in ran.err


def test_doctor_sees_a_cache_that_can_t_be_written(project: Project) -> None:
    project.write("deployq.toml", CONFIG.replace('cache = "cache"\n', ""))
    ran = project.run("doctor", "--json", HOME=str(project.model / "home"))
    assert ran.code == 1
    (found,) = [finding for finding in ran.json["findings"] if finding["what"] == "cache"]
    assert not found["ok"]
    assert "DEPLOYQ_CACHE_DIR" in found["hint"]
