"""Names of models that were made from those of files: no source takes another one's tags."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Project
from tests.tiny import write_tiny_llama

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("tools_bin")]
OPTIONS = ("--targets", "laptop", "--quants", "Q8_0", "--yes", "--json")


def push(project: Project, source: Path | str, *more: str) -> tuple[int, str, str]:
    done = project.run("push", str(source), *OPTIONS, *more)
    model = done.json["model"] if done.code == 0 else ""
    return done.code, model, " ".join(done.err.split())


def test_a_second_source_does_not_take_the_name_of_the_first(project: Project) -> None:
    first = write_tiny_llama(project.folder / "模型-日本.gguf", name="one")
    second = write_tiny_llama(project.folder / "別の.gguf", name="two")
    assert push(project, first)[:2] == (0, "model")
    assert 'made_from = "模型-日本.gguf"' in (project.folder / "deployq.lock").read_text("utf-8")
    before = (project.folder / "deployq.lock").read_bytes()
    code, _, err = push(project, second)
    assert code == 2, err
    assert "would be the model model, which is that of 模型-日本.gguf, as deployq.lock says" in err
    assert "--name NAME gives it a name of its own; --name model takes that one over" in err
    assert (project.folder / "deployq.lock").read_bytes() == before
    plan = project.run("plan", str(second), "--targets", "laptop", "--json")
    assert any("which is that of 模型-日本.gguf" in w for w in plan.json["warnings"])
    assert push(project, second, "--name", "other")[:2] == (0, "other")
    assert push(project, second, "--name", "model")[:2] == (0, "model")
    assert push(project, second)[:2] == (0, "model")
    assert push(project, first)[0] == 2


def test_the_same_source_moved_or_trained_again_keeps_its_name(project: Project) -> None:
    first = write_tiny_llama(project.folder / "My Model.gguf", name="one")
    assert push(project, first)[:2] == (0, "my-model")
    (project.folder / "runs").mkdir()
    moved = first.rename(project.folder / "runs" / "My Model.gguf")
    assert push(project, moved)[:2] == (0, "my-model")
    write_tiny_llama(moved, name="two")
    assert push(project, moved)[:2] == (0, "my-model")
    renamed = moved.rename(project.folder / "my_model.F16.gguf")
    renamed = renamed.rename(project.folder / "my-model.gguf")
    assert push(project, renamed)[:2] == (0, "my-model")  # the very same content
