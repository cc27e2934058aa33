"""A user's folder and terminal: each command is a process of its own, with a HOME of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.ollama_fixtures import free_port
from tests.tiny import write_tiny_llama

PASSING = (
    'name = "easy"\noptions = { num_predict = 4 }\n[[prompts]]\nuser = "hi"\ncheck.max_tokens = 4\n'
)
FAILING = (
    'name = "hard"\noptions = { num_predict = 4 }\n'
    '[[prompts]]\nname = "impossible"\nuser = "hi"\ncheck.contains = "no model says this"\n'
)
CONFIG = """
cache = "cache"
[models.tiny]
source = "tiny-f16.gguf"
suite = "suite.toml"
quants = ["Q8_0", "Q4_K_M"]
parameters = { temperature = 0, num_ctx = 256 }
[targets.laptop]
memory = "16GB"
kind = "ram"
context = 512
goal = "balanced"
[targets.box]
preset = "4090"
context = 256
goal = "max"
[runtime]
name = "embedded"
dir = "."
"""

COMMAND_SECONDS = 600  # the test's own timeout is shorter


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Project:
    """A folder with a model, a suite and a configuration."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "tiny-f16.gguf"

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def environment(self, **more: str) -> dict[str, str]:
        kept = ("PATH", "DEPLOYQ_LLAMA_CPP", "DEPLOYQ_TOOLS_DIR", "PYTHONPATH", "LANG")
        env = {name: os.environ[name] for name in kept if name in os.environ}
        return {**env, "HOME": str(self.folder / "home"), "PYTHONUTF8": "1", **more}

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "deployq", *arguments],
            cwd=self.folder,
            env=self.environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """The URL of the project's own server, while it is up."""
        port = free_port()
        child = self.start("serve", "--port", str(port))
        url = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(requests.ConnectionError):
                    requests.get(f"{url}/api/version", timeout=5).raise_for_status()
                    break
                if child.poll() is not None:  # the last command's server was still on another port
                    child.communicate()
                    child = self.start("serve", "--port", str(port))
                assert time.monotonic() < deadline, "deployq serve did not come up"
                time.sleep(0.1)
            yield url
        finally:
            child.send_signal(signal.SIGINT)
            child.communicate(timeout=60)

    def run(self, *arguments: str, **env: str) -> Ran:
        child = self.start(*arguments, **env)
        out, err = child.communicate(timeout=COMMAND_SECONDS)
        return Ran(child.returncode, out, err)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny-f16.gguf")


@pytest.fixture
def project(tmp_path: Path, tiny_model: Path) -> Project:
    (tmp_path / "tiny-f16.gguf").write_bytes(tiny_model.read_bytes())
    found = Project(tmp_path)
    found.write("deployq.toml", CONFIG)
    found.write("suite.toml", PASSING)
    return found
