"""The same tests for two servers: the embedded runtime and a real Ollama."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from deployq_runtimes import Embedded

from deployq import Endpoint
from tests.conformance.server import UNKNOWN_TEMPLATE, WORDS, Server, fresh_name
from tests.tiny import CHAT_TEMPLATE, write_tiny_llama

BOTH = (
    pytest.param("embedded", marks=pytest.mark.tools),
    pytest.param("ollama", marks=pytest.mark.ollama),
)


@pytest.fixture(scope="session")
def embedded_server(
    tools_bin: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoint]:
    assert tools_bin.is_dir()
    with Embedded().start(tmp_path_factory.mktemp("embedded")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session", params=BOTH)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server under test, with nothing in it at first."""
    fixture = "embedded_server" if request.param == "embedded" else "kept_ollama"
    with Server(request.getfixturevalue(fixture)) as under_test:
        yield under_test


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with random weights and a ChatML template of its own."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    return write_tiny_llama(path, vocab=WORDS, chat_template=UNKNOWN_TEMPLATE, space_prefix=False)


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the usual ChatML template, which Ollama knows."""
    path = tmp_path_factory.mktemp("known") / "known.gguf"
    return write_tiny_llama(path, vocab=WORDS, chat_template=CHAT_TEMPLATE)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without any template."""
    path = tmp_path_factory.mktemp("plain") / "plain.gguf"
    return write_tiny_llama(path, vocab=WORDS, chat_template=None)


@pytest.fixture(scope="session")
def tiny2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, with other weights."""
    path = tmp_path_factory.mktemp("gguf2") / "tiny2.gguf"
    return write_tiny_llama(path, seed=2, vocab=WORDS, chat_template=UNKNOWN_TEMPLATE)


@pytest.fixture(scope="session")
def base(server: Server, tiny: Path) -> str:
    """A tag of the small model, with no parameters of its own."""
    name = fresh_name("base")
    server.create(name, tiny)
    return name


@pytest.fixture(scope="session")
def sample(server: Server, sample_gguf: Path) -> str:
    """A tag of the project's sample model, whose answers mean something."""
    if not sample_gguf.exists():
        pytest.skip("the sample model is not there: examples/task-api/train.py makes it")
    name = fresh_name("sample")
    server.create(name, sample_gguf)
    return name
