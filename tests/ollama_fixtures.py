"""A real Ollama for tests: started from the binary that DEPLOYQ_TEST_OLLAMA names.

Private port, home and models; ended with the tests. Nothing of the user's own Ollama is touched.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from deployq import Endpoint, proc

START_SECONDS = 60.0


@pytest.fixture(scope="session")
def ollama_binary() -> Path:
    """The binary that DEPLOYQ_TEST_OLLAMA names, with its llama-server beside it."""
    named = os.environ.get("DEPLOYQ_TEST_OLLAMA")
    if not named:
        pytest.skip("no real Ollama: DEPLOYQ_TEST_OLLAMA names no binary (make test-ollama)")
    binary = Path(named)
    if not binary.is_file():
        pytest.fail(f"DEPLOYQ_TEST_OLLAMA: {binary} is no file")
    if not (binary.parent.parent / "lib" / "ollama" / "llama-server").exists():
        pytest.fail(f"{binary} has no ../lib/ollama/llama-server: tests/install_ollama.py links it")
    return binary


@pytest.fixture(scope="session")
def real_ollama(
    ollama_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoint]:
    """A real Ollama that runs for the whole session."""
    with running_ollama(ollama_binary, tmp_path_factory.mktemp("ollama")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def kept_ollama(
    ollama_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoint]:
    """Another one, for what is kept in it for the whole session: nobody empties it."""
    with running_ollama(ollama_binary, tmp_path_factory.mktemp("kept")) as endpoint:
        yield endpoint


@contextlib.contextmanager
def running_ollama(
    binary: Path, folder: Path, models: Path | None = None, **variables: str
) -> Iterator[Endpoint]:
    """`ollama serve` in a folder of its own, over `models` or a new store; inside the block."""
    child, endpoint = start_ollama(binary, folder, models, **variables)
    try:
        yield endpoint
    finally:
        proc.stop(child)


def start_ollama(
    binary: Path, folder: Path, models: Path | None = None, **variables: str
) -> tuple[proc.Child, Endpoint]:
    """The same for a caller that ends it, with `proc.stop`."""
    models = models or folder / "models"
    (folder / "home").mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{free_port()}"
    env = {
        "HOME": str(folder / "home"),
        "OLLAMA_HOST": url,
        "OLLAMA_MODELS": str(models),
        "OLLAMA_NO_CLOUD": "1",
        **variables,
    }
    log = folder / "serve.log"
    with log.open("wb") as file:
        child = proc.start([str(binary), "serve"], env=env, stdout=file.fileno())
    try:
        return child, Endpoint(url, "ollama", _wait(url, log), models)
    except BaseException:
        proc.stop(child)
        raise


def _wait(url: str, log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.ConnectionError):
            return str(requests.get(f"{url}/api/version", timeout=5).json()["version"])
        time.sleep(0.05)
    pytest.fail(f"Ollama did not answer within {START_SECONDS:g} s:\n{log.read_text()[-2000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
