"""The environment with Unsloth, and what a training left: all of it made once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployq import Endpoint, proc
from tests.cli.conftest import Project, Ran

HERE = Path(__file__).parent
TOKENIZER = HERE.parent.parent / "examples" / "task-api" / "model"
TRAINING_SECONDS = 900.0


@dataclass(frozen=True)
class Trained(Project):
    """A project beside the folders that a training left; its server is a real Ollama."""

    made: Path
    url: str
    python: Path

    def configure(self, quants: str, mode: str) -> None:
        """A deployq.toml with one model, `m`, one target, and the user's own Unsloth."""
        lines = [
            'cache = "cache"', "[models.m]", f'source = "{self.made / "lora"}"',
            f'base = "{self.made / "base"}"', 'suite = "suite.toml"', f"quants = {quants}",
            "[targets.laptop]", 'memory = "16GB"', 'kind = "ram"', f'host = "{self.url}"',
            "context = 512", "[backends.unsloth]", f'python = "{self.python}"', f'mode = "{mode}"',
        ]  # fmt: skip
        self.write("deployq.toml", "\n".join(lines) + "\n")

    def push(self, *more: str) -> Ran:
        argv = ("push", "m", "--targets", "laptop", "--backend", "unsloth", "--json")
        return self.run(*argv, *more)


@pytest.fixture(scope="session")
def unsloth_python() -> Path:
    """The interpreter that has Unsloth."""
    named = os.environ.get("DEPLOYQ_TEST_UNSLOTH")
    if not named:
        pytest.fail("DEPLOYQ_TEST_UNSLOTH names no interpreter: make test-unsloth installs one")
    return Path(named)


@pytest.fixture(scope="session")
def made(unsloth_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and a trained adapter on it (train.py, in Unsloth)."""
    folder = tmp_path_factory.mktemp("training")
    proc.run(
        [unsloth_python, HERE / "train.py", TOKENIZER, folder / "made"],
        env={"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive", "UNSLOTH_AUTO_INSTALL": "0"},
        cwd=folder,
        timeout_seconds=TRAINING_SECONDS,
    )
    return folder / "made"


@pytest.fixture
def trained(tmp_path: Path, made: Path, unsloth_python: Path, real_ollama: Endpoint) -> Trained:
    project = Trained(tmp_path, made, real_ollama.url, unsloth_python)
    project.write("suite.toml", (made / "suite.toml").read_text())
    return project
