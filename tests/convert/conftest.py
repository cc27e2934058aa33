"""One project, one real Ollama, and what a training left; all of it made once."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployq import Endpoint, proc
from deployq.tools import convert_python
from tests.cli.conftest import Project, Ran

HERE = Path(__file__).parent
SAMPLE = HERE.parent.parent / "examples" / "task-api"
TOKENIZER = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
TRAINING_SECONDS = 600.0


@dataclass(frozen=True)
class Trained(Project):
    """A project whose server is a real Ollama, beside the folders that a training left."""

    made: Path
    answers: Mapping[str, Mapping[str, str]]

    def suite(self, which: str) -> Path:
        """A suite that only the right answers pass: those of BASE or TUNED."""
        text = "threshold = 1.0\noptions = { num_predict = 24 }\ncheck.stops = true\n"
        for question, answer in self.answers[which].items():
            text += f'[[prompts]]\nuser = "{question}"\ncheck.equals = "{answer}"\n'
        return self.write(f"{which.lower()}.toml", text)

    def configure(self, source: str | Path, suite: Path, *more: str, url: str) -> None:
        """A deployq.toml with one model, `m`, and one target."""
        lines = [
            'cache = "cache"', "[models.m]", f'source = "{source}"', f'suite = "{suite}"',
            'quants = ["Q8_0"]', *more, "[targets.laptop]", 'memory = "16GB"', 'kind = "ram"',
            f'host = "{url}"', "context = 512",
        ]  # fmt: skip
        self.write("deployq.toml", "\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter that converts."""
    found = convert_python(os.environ)
    if found is None:
        pytest.fail("no environment that converts: make test-convert installs it")
    return found


@pytest.fixture(scope="session")
def made(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training left (train.py)."""
    folder = tmp_path_factory.mktemp("training")
    (folder / "tokenizer").mkdir()
    for name in TOKENIZER:
        shutil.copyfile(SAMPLE / "model" / name, folder / "tokenizer" / name)
    proc.run(
        [python, HERE / "train.py", folder / "tokenizer", folder / "made"],
        env={"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"},
        timeout_seconds=TRAINING_SECONDS,
    )
    return folder / "made"


@pytest.fixture(scope="session")
def trained(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    text = (HERE / "train.py").read_text(encoding="utf-8")
    said = {
        name: re.findall(r'"([^"]+)"', re.search(rf"^{name} = \(([^)]*)\)", text, re.MULTILINE)[1])  # type: ignore[index]
        for name in ("QUESTIONS", "BASE", "TUNED")
    }
    answers = {
        name: dict(zip(said["QUESTIONS"], said[name], strict=True)) for name in ("BASE", "TUNED")
    }
    return Trained(tmp_path_factory.mktemp("project"), made, answers)


@pytest.fixture
def push(trained: Trained, real_ollama: Endpoint) -> Pushing:
    return Pushing(trained, real_ollama.url)


@dataclass(frozen=True)
class Pushing:
    """Pushes one source after another from one project, with one cache."""

    project: Trained
    url: str

    def __call__(self, source: str | Path, suite: str, *more: str) -> Ran:
        place = self.project.made / source
        self.project.configure(place, self.project.suite(suite), *more, url=self.url)
        return self.project.run("push", "m", "--targets", "laptop", "--json")
