"""Completion: click's own protocol for each shell, and a real bash that presses Tab."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.cli.conftest import Project

LOCK = """
schema = 1
[tags."tiny:q4_k_m".embedded]
model = "tiny"
[tags."tiny:q8_0".embedded]
model = "tiny"
[tags."tiny:laptop".embedded]
model = "tiny"
"""


@pytest.fixture
def pushed(project: Project) -> Project:
    """A project whose lockfile names three tags; nothing in it was built."""
    project.write("deployq.lock", LOCK)
    return project


def completed(project: Project, shell: str, *words: str) -> list[str]:
    """What click's protocol answers for the words of a line; the last one is being typed."""
    line = {"fish": " ".join(words[:-1])}.get(shell, " ".join(words))
    env = {
        "_DEPLOYQ_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": words[-1] if shell == "fish" else str(len(words) - 1),
    }
    ran = project.run(**env)
    assert ran.code == 0, ran.err
    assert ran.err == ""
    return ran.out.splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_calls_deployq(project: Project, shell: str) -> None:
    ran = project.run("completion", shell)
    assert ran.code == 0, ran.err
    assert f"_DEPLOYQ_COMPLETE={shell}_complete" in ran.out


def test_verbs_come_with_their_line_for_zsh(pushed: Project) -> None:
    assert completed(pushed, "zsh", "deployq", "pus") == [
        "plain", "push", "Plan, quantize, register and verify a model on its targets.",
    ]  # fmt: skip


def test_models_then_files(pushed: Project) -> None:
    assert completed(pushed, "bash", "deployq", "push", "t") == ["file,", "plain,tiny"]


def test_targets_in_a_list(pushed: Project) -> None:
    said = completed(pushed, "bash", "deployq", "push", "tiny", "--targets", "laptop,")
    assert said == ["plain,laptop,box"]
    assert completed(pushed, "bash", "deployq", "push", "tiny", "-t", "b") == ["plain,box"]


def test_quants_in_a_list(pushed: Project) -> None:
    said = completed(pushed, "bash", "deployq", "plan", "tiny", "--quants", "Q8_0,q4_k")
    assert said == ["plain,Q8_0,Q4_K_M", "plain,Q8_0,Q4_K_S"]


def test_tags_whole_for_zsh_and_fish(pushed: Project) -> None:
    fish = completed(pushed, "fish", "deployq", "show", "tiny:q")
    assert [line.split("\t")[0] for line in fish] == ["plain,tiny:q4_k_m", "plain,tiny:q8_0"]
    zsh = completed(pushed, "zsh", "deployq", "show", "tiny:l")
    assert re.sub(r"\\", "", zsh[1]) == "tiny:laptop"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tiny", ":", "q4"), ["plain,q4_k_m"]),
        (("tiny", ":"), ["plain,q4_k_m", "plain,q8_0", "plain,laptop"]),
        (("tin",), ["plain,tiny", "plain,tiny:q4_k_m", "plain,tiny:q8_0", "plain,tiny:laptop"]),
        (("tiny", ":", "q8_0", "tiny", ":", "l"), ["plain,laptop"]),
    ],
)
def test_bash_cuts_tags_at_colons(pushed: Project, words: tuple[str, ...], said: list[str]) -> None:
    assert completed(pushed, "bash", "deployq", "verify", *words) == said


def test_bash_cuts_options_at_equals_signs(pushed: Project) -> None:
    said = completed(pushed, "bash", "deployq", "push", "tiny", "--targets", "=", "la")
    assert said == ["plain,laptop"]


def test_another_configuration_counts(pushed: Project) -> None:
    pushed.write("other.toml", "[models.other]\n")
    said = completed(pushed, "bash", "deployq", "-c", "other.toml", "push", "o")
    assert said == ["file,", "plain,other"]


def test_runs_the_newest_first(pushed: Project) -> None:
    for name in ("2026-11-25T10-00-00Z", "2026-11-26T10-00-00Z"):
        (pushed.folder / ".deployq" / "runs" / name).mkdir(parents=True)
    said = completed(pushed, "bash", "deployq", "report", "2026")
    assert said == ["file,", "plain,2026-11-26T10-00-00Z", "plain,2026-11-25T10-00-00Z"]


def test_a_damaged_lockfile_suggests_nothing_and_says_nothing(pushed: Project) -> None:
    pushed.write("deployq.lock", "= [")
    assert completed(pushed, "bash", "deployq", "show", "tiny:q") == [""]


def test_a_damaged_configuration_leaves_the_lockfile_s_tags(pushed: Project) -> None:
    pushed.write("deployq.toml", "= [")
    said = completed(pushed, "bash", "deployq", "show", "tiny:q")
    assert said == ["plain,q4_k_m", "plain,q8_0"]


def shell_of(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} here")
    return found


def installed(project: Project, shell: str) -> dict[str, str]:
    """The environment of a shell that finds `deployq`; its script lies in the project."""
    program = project.folder / "bin" / "deployq"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m deployq "$@"\n')
    program.chmod(0o755)
    project.write("script", project.run("completion", shell).out)
    env = project.environment(PS1="ready> ", TERM="dumb", INPUTRC="/dev/null")
    return {**env, "PATH": f"{program.parent}:{env['PATH']}"}


def test_a_real_fish(pushed: Project) -> None:
    fish, env = shell_of("fish"), installed(pushed, "fish")
    ask = "source script; complete -C 'deployq show tiny:q'; complete -C 'deployq push tiny -t b'"
    done = subprocess.run(
        [fish, "--no-config", "-c", ask],
        cwd=pushed.folder, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["tiny:q4_k_m", "tiny:q8_0", "box"]


def test_a_real_zsh(pushed: Project) -> None:
    zsh, env = shell_of("zsh"), installed(pushed, "zsh")
    with typing([zsh, "-f", "-i"], pushed.folder, env) as keys:
        keys("autoload -U compinit; compinit -D; source ./script\n", "ready> .*ready> ")
        keys("deployq show tiny:q4\t", "q4_k_m ")


def test_a_real_bash(pushed: Project) -> None:
    """Tab is pressed in an interactive bash, and completes the line as it would a user's."""
    bash, env = shell_of("bash"), installed(pushed, "bash")
    with typing([bash, "--norc", "--noprofile", "-i"], pushed.folder, env) as keys:
        keys(". ./script\n", "ready> .*ready> ")
        keys("deployq show tiny:q4\t", "show tiny:q4_k_m ")
        keys("\x15deployq push ti\t", "push tiny ")
        keys("-t laptop,\t", "-t laptop,box ")


@contextlib.contextmanager
def typing(
    argv: Sequence[str], folder: Path, env: dict[str, str]
) -> Iterator[Callable[[str, str], None]]:
    """An interactive shell; what is called types, and waits for what shall then be seen."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        argv,
        cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)

    def keys(text: str, expected: str) -> None:
        os.write(ours, text.encode())
        shown, deadline = "", time.monotonic() + 60
        while not re.search(expected, shown, re.DOTALL):
            assert time.monotonic() < deadline, f"{expected!r} was not seen, but {shown!r}"
            if select.select([ours], [], [], 0.5)[0]:
                shown += os.read(ours, 65536).decode("utf-8", "replace")

    try:
        yield keys
    finally:
        child.kill()
        child.wait()
        os.close(ours)
