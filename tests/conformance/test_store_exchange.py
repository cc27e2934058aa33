"""One store, two servers: what one has made, the other lists and runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployq_runtimes import Embedded

from tests.conformance.server import Server, fresh_name
from tests.ollama_fixtures import running_ollama
from tests.tiny import CHAT_TEMPLATE

pytestmark = [pytest.mark.ollama, pytest.mark.tools]

MADE: dict[str, Any] = {
    "system": "Answer with one word.",
    "parameters": {"temperature": 0, "num_predict": 5, "num_ctx": 1024, "stop": ["<a&b>"]},
    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}],
    "license": ["Mine"],
}


@contextlib.contextmanager
def embedded_at(folder: Path) -> Iterator[Server]:
    with Embedded().start(folder) as endpoint, Server(endpoint) as server:
        yield server


@contextlib.contextmanager
def real_at(binary: Path, folder: Path, models: Path) -> Iterator[Server]:
    with running_ollama(binary, folder, models) as endpoint, Server(endpoint) as server:
        yield server


def described(server: Server, name: str) -> dict[str, Any]:
    """What does not depend on who serves."""
    shown = server.ok("/api/show", model=name)
    keep = ("system", "messages", "license", "details", "capabilities")
    return {
        "digest": server.tags()[name]["digest"],
        "size": server.tags()[name]["size"],
        "parameters": sorted(shown["parameters"].splitlines()),
        **{key: shown[key] for key in keep},
    }


def asked(server: Server, name: str) -> tuple[str, int]:
    said = server.ok("/api/chat", model=name, messages=[{"role": "user", "content": "go"}])
    return said["message"]["content"], said["prompt_eval_count"]


def test_a_real_ollama_runs_what_the_embedded_runtime_made(
    ollama_binary: Path, tiny: Path, tmp_path: Path
) -> None:
    name = f"{fresh_name('made')}:q8_0"
    with embedded_at(tmp_path / "embedded") as embedded:
        embedded.create(name, tiny, **MADE)
        embedded.create(f"deployq-history/{name}", tiny)
        before, answer = described(embedded, name), asked(embedded, name)
    with real_at(ollama_binary, tmp_path / "real", tmp_path / "embedded" / "models") as real:
        assert set(real.tags()) == {name, f"deployq-history/{name}"}
        assert described(real, name) == before
        assert asked(real, name) == answer


def test_the_embedded_runtime_runs_what_a_real_ollama_made(
    ollama_binary: Path, tiny: Path, tmp_path: Path
) -> None:
    name = f"{fresh_name('made')}:q8_0"
    with real_at(ollama_binary, tmp_path / "real", tmp_path / "embedded" / "models") as real:
        real.create(name, tiny, **MADE)
        before, answer = described(real, name), asked(real, name)
    with embedded_at(tmp_path / "embedded") as embedded:
        assert set(embedded.tags()) == {name}
        assert described(embedded, name) == before
        assert asked(embedded, name) == answer


def test_both_write_the_same_manifest(ollama_binary: Path, tiny: Path, tmp_path: Path) -> None:
    name = fresh_name("same")
    where = Path("manifests/registry.ollama.ai/library", name, "latest")
    with embedded_at(tmp_path / "embedded") as embedded:
        embedded.create(name, tiny, **MADE)
    with real_at(ollama_binary, tmp_path / "real", tmp_path / "models") as real:
        real.create(name, tiny, **MADE)
    if real.version < (0, 34, 1):
        pytest.skip("named difference by version: before 0.34.1 the file name was not kept")
    ours = (tmp_path / "embedded" / "models" / where).read_bytes()
    assert ours == (tmp_path / "models" / where).read_bytes()


def test_a_template_that_ollama_detected_gives_way_to_the_ggufs_own(
    ollama_binary: Path, known: Path, tmp_path: Path
) -> None:
    name = fresh_name("detected")
    with real_at(ollama_binary, tmp_path / "real", tmp_path / "embedded" / "models") as real:
        real.create(name, known)
        assert "{{- range .Messages }}" in real.ok("/api/show", model=name)["template"]
    with embedded_at(tmp_path / "embedded") as embedded:
        assert embedded.ok("/api/show", model=name)["template"] == CHAT_TEMPLATE
        assert asked(embedded, name)[1] > 0


def test_a_go_template_of_the_users_own_is_not_left_out_silently(
    ollama_binary: Path, tiny: Path, tmp_path: Path
) -> None:
    name = fresh_name("templated")
    with real_at(ollama_binary, tmp_path / "real", tmp_path / "embedded" / "models") as real:
        real.create(name, tiny, template="Q: {{ .Prompt }}\nA:")
    with embedded_at(tmp_path / "embedded") as embedded:
        assert f"{name}:latest" in embedded.tags()
        status, error = embedded.refused("/api/generate", model=name, prompt="x")
        assert status == 501
        assert "TEMPLATE" in error
        options = {"num_predict": 1}
        raw = embedded.ok("/api/generate", model=name, prompt="x", raw=True, options=options)
        assert raw["eval_count"] == 1
