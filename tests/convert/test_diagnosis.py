"""`deployq diagnose` up to the trained model: what a conversion lost, and what nobody knew."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from deployq import proc
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


def test_what_a_conversion_lost(project: Project, python: Path) -> None:
    """A GGUF that turns positions at another pace than the model was trained with."""
    assert python.exists()
    bent = project.folder / "bent.gguf"
    shutil.copyfile(SAMPLE / "task-api-f16.gguf", bent)
    bent.chmod(0o644)
    change = [str(bent), "llama.rope.freq_base", "3.0", "--force"]
    proc.run([sys.executable, "-m", "gguf.scripts.gguf_set_metadata", *change])
    pushed(project, bent.name)
    without = project.run("diagnose", "m:q8_0", "--json").json
    assert without["cause"] == "model"
    found = project.run("diagnose", "m:q8_0", "--trained", "model", "--json").json
    assert (found["cause"], found["confidence"]) == ("conversion", "certain")
    assert "under transformers, as the model was trained" in found["sentence"]
