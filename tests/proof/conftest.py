"""A server with quants of the sample model: the embedded runtime, or a real Ollama."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployq import proc
from deployq.digests import sha256_file
from deployq.plugins import load_plugins
from deployq.proof.agreement import patiently
from deployq.proof.following import follow
from deployq.proof.tracing import Asker, trace
from deployq.tags.modelfile import parse
from deployq.tags.server import Server
from deployq.types import Message, Prompt, PromptAgreement, Runtime, TracedAnswer

QUANTS = ("F16", "Q8_0", "Q4_K_M", "Q2_K")


@pytest.fixture(scope="session")
def sample_quants(
    tools_bin: Path, sample_gguf: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The sample model's files by quant, made by the real llama-quantize."""
    folder = tmp_path_factory.mktemp("quants")
    files = {"F16": sample_gguf}
    for quant in QUANTS[1:]:
        files[quant] = folder / f"{quant}.gguf"
        proc.run([tools_bin / "llama-quantize", sample_gguf, files[quant], quant, "2"])
    return files


def put(server: Server, files: dict[str, Path], context: int = 512) -> None:
    """Every quant as `sample:<quant>`."""
    for quant, path in files.items():
        digest = sha256_file(path)
        server.upload_blob(path, digest)
        # One thread: on a busy machine two wait for one another at every tensor.
        parameters = {"num_ctx": context, "temperature": 0.7, "num_thread": 1}
        text = "\n".join(
            [f"FROM {path.name}", *(f"PARAMETER {k} {v}" for k, v in parameters.items())]
        )
        server.create(f"sample:{quant.lower()}", parse(text), {path.name: digest})


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("embedded", marks=pytest.mark.tools),
        pytest.param("ollama", marks=pytest.mark.ollama),
    ],
)
def lab(
    request: pytest.FixtureRequest,
    sample_quants: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """A server that holds the quants."""
    if request.param == "ollama":
        with Server(request.getfixturevalue("kept_ollama").url) as server:
            put(server, sample_quants)
            yield server
        return
    runtime = load_plugins().named("deployq_runtimes")["embedded"]
    assert isinstance(runtime, Runtime)
    if not runtime.health().ok:
        pytest.skip(f"{runtime.health().detail}: {os.environ.get('DEPLOYQ_TOOLS_DIR')}")
    with (
        runtime.start(tmp_path_factory.mktemp("embedded")) as endpoint,
        Server(endpoint.url) as server,
    ):
        put(server, sample_quants)
        yield server


def traced(asker: Asker, prompt: str, rendered: str, tokens: int) -> TracedAnswer:
    """An answer by `trace`, from a server that may get stuck (`patiently`)."""
    return patiently(asker, lambda: trace(asker, prompt, rendered, tokens))[0]


def followed(asker: Asker, answer: TracedAnswer) -> PromptAgreement:
    """An answer scored by `follow`, on a server that may get stuck."""
    return patiently(asker, lambda: follow(asker, answer, {}))[0]


TEXTS = (
    "Create a task: Review quarterly report by Friday",
    "Remind me to call the dentist tomorrow",
    "Add a task: Pay the garage rent before March 1, it's urgent",
    "mark 12 as done",
    "What is on my list for Friday at 5pm?",
    "Delete task 9",
)


@pytest.fixture(scope="session")
def prompts() -> tuple[Prompt, ...]:
    return tuple(
        Prompt(
            f"p{number}",
            (Message("user", text),),
            {"temperature": 0, "seed": 42, "num_predict": 64},
            {"json": True, "stops": True},
        )
        for number, text in enumerate(TEXTS)
    )
