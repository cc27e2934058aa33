"""Load, unload, ps, keep_alive, several models at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.server import Server, fresh_name


@pytest.fixture(autouse=True)
def nothing_loaded(server: Server) -> None:
    """Tags with equal weights share a runner: what other tests have loaded would be in the way."""
    for name in server.loaded():
        server.unload(name)


def one_token(server: Server, name: str, **options: object) -> dict[str, object]:
    return server.ok(
        "/api/generate", model=name, prompt="hi", options={"num_predict": 1, **options}
    )


def test_load_shows_in_ps_and_unload_takes_it_out(server: Server, tiny: Path) -> None:
    name = fresh_name("loaded")
    server.create(name, tiny)
    loaded = server.ok("/api/generate", model=name)
    assert {key: loaded[key] for key in ("model", "response", "done", "done_reason")} == {
        "model": name,
        "response": "",
        "done": True,
        "done_reason": "load",
    }
    row = server.loaded()[f"{name}:latest"]
    assert row["model"] == f"{name}:latest"
    assert row["size"] > tiny.stat().st_size
    assert 0 <= row["size_vram"] <= row["size"]
    assert row["context_length"] == 2048  # 4096 is the default, 2048 what it was trained for
    assert row["digest"] == server.tags()[f"{name}:latest"]["digest"]
    assert row["details"]["quantization_level"] == "F16"
    assert row["expires_at"] > row["details"].get("modified_at", "2020")
    unloaded = server.ok("/api/generate", model=name, keep_alive=0)
    assert unloaded["done_reason"] == "unload"
    assert server.is_gone_soon(name)
    assert server.ok("/api/generate", model=name, keep_alive=0)["done_reason"] == "unload"


def test_chat_loads_and_unloads_too(server: Server, tiny: Path) -> None:
    name = fresh_name("chatload")
    server.create(name, tiny)
    loaded = server.ok("/api/chat", model=name, messages=[])
    assert loaded["message"] == {"role": "assistant", "content": ""}
    assert loaded["done_reason"] == "load"
    assert f"{name}:latest" in server.loaded()
    unloaded = server.ok("/api/chat", model=name, messages=[], keep_alive=0)
    assert unloaded["done_reason"] == "unload"
    assert server.is_gone_soon(name)


def test_an_answer_with_keep_alive_0_unloads_afterwards(server: Server, tiny: Path) -> None:
    name = fresh_name("once")
    server.create(name, tiny)
    said = server.ok(
        "/api/generate", model=name, prompt="hi", keep_alive=0, options={"num_predict": 1}
    )
    assert said["eval_count"] == 1
    assert server.is_gone_soon(name)


def test_a_short_keep_alive_runs_out(server: Server, tiny: Path) -> None:
    name = fresh_name("short")
    server.create(name, tiny)
    server.ok("/api/generate", model=name, keep_alive="1s")
    assert f"{name}:latest" in server.loaded()
    assert server.is_gone_soon(name)


@pytest.mark.parametrize("value", [-1, "-1m", 1.5, "1h30m", "10m", "500ms"])
def test_keep_alive_in_all_its_forms(server: Server, base: str, value: object) -> None:
    assert server.ok("/api/generate", model=base, keep_alive=value)["done_reason"] == "load"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("bogus", 'time: invalid duration "bogus"'),
        ("5", 'time: missing unit in duration "5"'),
        ("5x", 'time: unknown unit "x" in duration "5x"'),
        ("", 'time: invalid duration ""'),
        (True, "Unsupported type: 'bool'"),
    ],
)
def test_faulty_keep_alive(server: Server, base: str, value: object, text: str) -> None:
    said = server.refused("/api/generate", model=base, keep_alive=value)
    assert said == (400, text)


def test_for_ever_is_a_time_far_away(server: Server, base: str) -> None:
    server.ok("/api/generate", model=base, keep_alive=-1)
    (row,) = [r for r in server.loaded().values() if r["expires_at"] > "2200"]
    assert row["context_length"] == 2048
    server.unload(base)


def test_another_context_reloads(server: Server, tiny: Path) -> None:
    name = fresh_name("context")
    server.create(name, tiny)
    one_token(server, name)
    one_token(server, name, num_ctx=512)
    assert server.loaded()[f"{name}:latest"]["context_length"] == 512
    server.unload(name)


def test_parameters_of_the_model_count_unless_the_request_has_its_own(
    server: Server, tiny: Path
) -> None:
    name = fresh_name("defaults")
    server.create(name, tiny, parameters={"num_ctx": 768, "num_predict": 3, "temperature": 0})
    said = server.ok("/api/generate", model=name, prompt="hi")
    assert said["eval_count"] == 3
    assert server.loaded()[f"{name}:latest"]["context_length"] == 768
    said = server.ok("/api/generate", model=name, prompt="hi", options={"num_predict": 2})
    assert said["eval_count"] == 2
    server.unload(name)


def test_several_models_at_once(server: Server, tiny: Path, tiny2: Path) -> None:
    names = fresh_name("several"), fresh_name("several")
    for name, gguf in zip(names, (tiny, tiny2), strict=True):
        server.create(name, gguf)
        server.ok("/api/generate", model=name, keep_alive="5m")
    assert {f"{name}:latest" for name in names} <= set(server.loaded())
    for name in names:
        server.unload(name)


def test_equal_weights_share_one_runner(server: Server, tiny: Path) -> None:
    first, second = fresh_name("first"), fresh_name("second")
    server.create(first, tiny)
    server.create(second, tiny, system="other text, same weights")
    server.unload(first)
    assert server.is_gone_soon(first)
    one_token(server, first)
    one_token(server, second)
    mine = {f"{first}:latest", f"{second}:latest"} & set(server.loaded())
    assert mine == {f"{first}:latest"}
    server.unload(second)
    assert server.is_gone_soon(first)


def test_a_deleted_model_that_is_loaded_answers_no_more(server: Server, tiny: Path) -> None:
    name = fresh_name("dropped")
    server.create(name, tiny)
    server.ok("/api/generate", model=name)
    server.ask("DELETE", "/api/delete", json={"model": name})
    status, error = server.refused("/api/generate", model=name, prompt="hi")
    assert (status, error) == (404, f"model '{name}' not found")
