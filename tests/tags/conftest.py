"""A real Ollama for the tests marked `ollama`, and the server that registration is tested on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployq.digests import sha256_file
from deployq.tags.server import Server
from deployq.tags.versions import version_numbers
from deployq.types import Artifact
from tests.tags.small_ollama import small_ollama
from tests.tiny import write_tiny_llama


@pytest.fixture(params=["small", pytest.param("real", marks=pytest.mark.ollama)])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server without tags: the small one, or a real Ollama."""
    if request.param == "small":
        with small_ollama() as small, Server(small.url) as client:
            yield client
        return
    with Server(request.getfixturevalue("real_ollama").url) as client:
        for name in client.names():
            client.delete(name)
        yield client


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A finished artifact."""
    path = write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf", n_layer=1)
    return artifact_of(path)


def artifact_of(path: Path) -> Artifact:
    return Artifact(
        path=path,
        quant="F16",
        key="k" * 64,
        digest=sha256_file(path),
        file_bytes=path.stat().st_size,
        backend="none",
        backend_version="0",
    )


def ollama_create(binary: Path, url: str, name: str, modelfile: Path) -> None:
    """`ollama create NAME -f FILE`, by Ollama's own command."""
    subprocess.run(
        [binary, "create", name, "-f", modelfile],
        env={**os.environ, "OLLAMA_HOST": url, "HOME": str(modelfile.parent)},
        check=True,
        capture_output=True,
        timeout=120,
    )


def keeps_weights(server: Server) -> bool:
    """Whether the server stores a GGUF as it is; before Ollama 0.34.1 it writes it anew."""
    return version_numbers(server.version()) >= (0, 34, 1)
