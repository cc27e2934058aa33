"""llama-server children: what they say when they fail, and what becomes of one that dies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from deployq_runtimes.embedded import Embedded

from tests.conformance.server import ENDLESS, UNKNOWN_TEMPLATE, WORDS, Server, fresh_name
from tests.tiny import write_tiny_llama

pytestmark = pytest.mark.tools


@pytest.fixture(scope="module")
def server(tools_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    assert tools_bin.is_dir()
    folder = tmp_path_factory.mktemp("engine")
    with Embedded().start(folder) as endpoint, Server(endpoint) as asked:
        yield asked


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("gguf") / "tiny.gguf", vocab=WORDS)


def engines(server: Server) -> list[int]:
    """Process ids of the server's children."""
    assert server.endpoint.models_dir is not None
    return [int(note.name) for note in (server.endpoint.models_dir.parent / "children").iterdir()]


def eventually_gone(pid: int) -> bool:
    """The server reaps a child that died, and strikes it out, within a moment."""
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not psutil.pid_exists(pid)


def test_an_engine_that_died_is_started_again(server: Server, gguf: Path) -> None:
    name = fresh_name("killed")
    server.create(name, gguf)
    server.ok("/api/generate", model=name)
    (first,) = engines(server)
    psutil.Process(first).kill()
    assert eventually_gone(first)
    said = server.ok("/api/generate", model=name, prompt="x", options={"num_predict": 1})
    assert said["eval_count"] == 1
    (second,) = engines(server)
    assert first != second
    server.unload(name)


def test_an_engine_that_dies_while_it_answers_is_told(server: Server, gguf: Path) -> None:
    name = fresh_name("dying")
    server.create(name, gguf)
    server.ok("/api/generate", model=name)
    options = {"num_predict": -1, "temperature": 1.5, "seed": 4}
    body = {"model": name, "prompt": "x", "options": options, "format": ENDLESS}
    with server.ask("POST", "/api/generate", json=body, stream=True) as answer:
        lines = answer.iter_lines()
        next(lines)
        for engine in engines(server):
            psutil.Process(engine).kill()
        *_, last = lines
    assert b'{"error":"model runner has unexpectedly stopped' in last
    said = server.ok("/api/generate", model=name, prompt="x", options={"num_predict": 1})
    assert said["eval_count"] == 1
    server.unload(name)


def test_a_client_that_goes_away_leaves_no_engine_behind(server: Server, gguf: Path) -> None:
    name = fresh_name("gone")
    server.create(name, gguf)
    options = {"num_predict": -1, "temperature": 1.5, "seed": 4}
    body = {"model": name, "prompt": "x", "options": options, "format": ENDLESS, "keep_alive": 0}
    with server.ask("POST", "/api/generate", json=body, stream=True) as answer:
        next(answer.iter_lines())
        (engine,) = engines(server)
    assert eventually_gone(engine)
    assert engines(server) == []


def test_weights_that_no_engine_loads_bring_its_last_words(server: Server, tmp_path: Path) -> None:
    content = write_tiny_llama(tmp_path / "tiny.gguf").read_bytes()
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(content.replace(b"blk.1.ffn_up.weight", b"blk.1.ffn_xp.weight"))
    name = fresh_name("damaged")
    server.create(name, damaged)
    status, error = server.refused("/api/generate", model=name)
    assert status == 500
    assert "could not load the model" in error
    assert "blk.1.ffn_up.weight" in error
    assert server.loaded() == {}


def test_more_models_than_fit_make_room(server: Server, tmp_path: Path) -> None:
    names = []
    for seed in range(4):
        names.append(fresh_name(f"m{seed}"))
        server.create(names[-1], write_tiny_llama(tmp_path / f"{seed}.gguf", seed=seed + 5))
        server.ok("/api/generate", model=names[-1])
    loaded = set(server.loaded())
    assert loaded == {f"{name}:latest" for name in names[1:]}
    assert len(engines(server)) == 3
    for name in names[1:]:
        server.unload(name)


def test_a_thinking_model_thinks_unless_told_not_to(server: Server, tmp_path: Path) -> None:
    template = (
        UNKNOWN_TEMPLATE + "{% if enable_thinking %}<think>{% else %}<think></think>{% endif %}"
    )
    name = fresh_name("thinking")
    gguf = write_tiny_llama(tmp_path / "thinking.gguf", chat_template=template)
    server.create(name, gguf)
    assert server.ok("/api/show", model=name)["capabilities"] == ["thinking", "completion"]

    def rendered(**more: object) -> str:
        said = server.ok(
            "/api/chat",
            model=name,
            messages=[{"role": "user", "content": "x"}],
            _debug_render_only=True,
            **more,
        )
        return str(said["_debug_info"]["rendered_template"])

    assert rendered().endswith("<think>")
    assert rendered(think=True).endswith("<think>")
    assert rendered(think=False).endswith("</think>")
    options = {"num_predict": 4, "temperature": 0}
    said = server.ok("/api/generate", model=name, prompt="x", options=options)
    assert said["response"] == ""
    assert said["thinking"]
    said = server.ok("/api/generate", model=name, prompt="x", think=False, options=options)
    assert "thinking" not in said
    server.unload(name)


def test_what_is_not_here_is_501_in_words(server: Server) -> None:
    for path in ("embed", "pull", "push"):
        status, error = server.refused(f"/api/{path}", model="x")
        assert status == 501
        assert "use a real Ollama" in error
    status, error = server.refused("/api/create", model=fresh_name("x"), **{"from": "not-there"})
    assert status == 501
    assert "pulling not-there" in error
