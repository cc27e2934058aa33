"""A GGUF held to the model that was trained: by `deployq diagnose`, and right after converting."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from deployq import Failed, inspect, proc
from deployq.config import load_config
from deployq.pipeline.answerparity import check_answers
from deployq.pipeline.resolve import resolve_model
from deployq.pipeline.session import open_session
from deployq.pipeline.sources import find_origin
from tests.cli.conftest import Project
from tests.convert.conftest import SAMPLE

pytestmark = [pytest.mark.convert, pytest.mark.tools, pytest.mark.timeout(600)]

CONFIG = """
cache = "cache"
[models.m]
source = "{source}"
suite = "suite.toml"
quants = ["Q8_0"]
system = "Answer with one JSON object."
[runtime]
name = "embedded"
dir = "embedded"
[targets.laptop]
memory = "16GB"
kind = "ram"
context = 512
"""
SUITE = """
threshold = 0.0
options = { num_predict = 48 }
[[prompts]]
name = "known"
user = "Remind me to call mum"
check.contains = ["call mum"]
[[prompts]]
name = "unknown"
user = "What is the capital of France?"
check.contains = ["Paris"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.write("suite.toml", SUITE)
    shutil.copytree(SAMPLE / "model", tmp_path / "model")
    return project


def pushed(project: Project, source: str, *more: str) -> None:
    project.write("deployq.toml", CONFIG.format(source=source))
    ran = project.run("push", "m", "--targets", "laptop", *more)
    assert ran.code == 0, ran.err


def test_what_the_trained_model_does_not_know_either(project: Project, python: Path) -> None:
    assert python.exists()
    pushed(project, "model")
    found = project.run("diagnose", "m:q8_0", "--json").json
    assert (found["cause"], found["confidence"]) == ("model", "certain")
    last = found["rungs"][-1]
    assert (last["name"], last["full_precision"]) == ("transformers", True)
    (direct,) = next(r["prompts"] for r in found["rungs"] if r["name"] == "llama.cpp")
    assert last["prompts"][0]["answer"] == direct["answer"]


@pytest.fixture
def bent(project: Project) -> Path:
    """A GGUF that turns positions at another pace than the model was trained with."""
    bent = project.folder / "bent.gguf"
    shutil.copyfile(SAMPLE / "task-api-f16.gguf", bent)
    bent.chmod(0o644)
    change = [str(bent), "llama.rope.freq_base", "3.0", "--force"]
    proc.run([sys.executable, "-m", "gguf.scripts.gguf_set_metadata", *change])
    return bent


def test_what_a_conversion_lost(project: Project, bent: Path, python: Path) -> None:
    assert python.exists()
    pushed(project, bent.name)
    without = project.run("diagnose", "m:q8_0", "--json").json
    assert without["cause"] == "model"
    found = project.run("diagnose", "m:q8_0", "--trained", "model", "--json").json
    assert (found["cause"], found["confidence"]) == ("conversion", "certain")
    assert "under transformers, as the model was trained" in found["sentence"]


def test_answers_that_are_not_the_trained_models_stop_a_conversion(
    project: Project, bent: Path, python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert python.exists()
    monkeypatch.chdir(project.folder)
    project.write("deployq.toml", CONFIG.format(source="model"))
    said: list[str] = []
    session = open_session(load_config(None, os.environ), talk=said.append)
    origin = find_origin(session, resolve_model(session.config, "m"), "local")
    right = inspect(SAMPLE / "task-api-f16.gguf")
    assert list(check_answers(session, origin, origin.path, right)) == []
    (fault,) = check_answers(session, origin, origin.path, inspect(bent))
    (line,) = said
    found = re.fullmatch(r"m: its GGUF writes (\d+) of (\d+) tokens that the trained .*", line)
    assert found is not None
    assert int(found[2]) > 10
    assert found[1] == found[2]
    assert (fault.check, type(fault)) == ("answers", Failed)
    assert "it was not converted right" in fault.message
