"""Show, tags, copy, delete."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.server import UNKNOWN_TEMPLATE, Server, digest_of, fresh_name
from tests.tiny import CHAT_TEMPLATE


def test_tags_tell_what_each_model_is(server: Server, tiny: Path) -> None:
    name = fresh_name("listed")
    server.create(name, tiny)
    row = server.tags()[f"{name}:latest"]
    assert set(row) >= {"name", "model", "modified_at", "size", "digest", "details", "capabilities"}
    assert row["model"] == f"{name}:latest"
    assert row["size"] >= tiny.stat().st_size
    assert len(row["digest"]) == 64
    assert row["modified_at"].startswith("20")
    details = row["details"]
    assert (details["format"], details["family"], details["families"]) == (
        "gguf",
        "llama",
        ["llama"],
    )
    assert details["quantization_level"] == "F16"
    assert details["context_length"] == 2048
    assert details["embedding_length"] == 256
    assert row["capabilities"] == ["completion"]
    if server.version >= (0, 34, 1):
        assert details["parent_model"] == "tiny.gguf"


def test_newest_first(server: Server, tiny: Path) -> None:
    name = fresh_name("newest")
    server.create(name, tiny)
    times = [row["modified_at"][:19] for row in server.get("/api/tags")["models"]]
    assert times == sorted(times, reverse=True)


def test_show_tells_the_header(server: Server, base: str) -> None:
    shown = server.ok("/api/show", model=base)
    info = shown["model_info"]
    assert info["general.architecture"] == "llama"
    assert info["general.parameter_count"] > 10**6
    assert info["llama.block_count"] == 2
    assert info["llama.attention.layer_norm_rms_epsilon"] == 1e-05
    assert not info["tokenizer.ggml.tokens"]
    assert not {"general.name", "tokenizer.chat_template"} & set(info)
    assert shown["capabilities"] == ["completion"]
    assert shown["details"]["parameter_size"].endswith("M")
    assert shown["details"]["quantization_level"] == "F16"
    assert "tensors" not in shown or server.version < (0, 34)


def test_show_gives_the_template_that_is_used(
    server: Server, base: str, known: Path, plain: Path
) -> None:
    assert server.ok("/api/show", model=base)["template"] == UNKNOWN_TEMPLATE
    for gguf, jinja in ((known, CHAT_TEMPLATE), (plain, "{{ .Prompt }}")):
        name = fresh_name("template")
        server.create(name, gguf)
        shown = server.ok("/api/show", model=name)["template"]
        if gguf == known and not server.lacks("template detection"):
            assert shown.startswith("{{- range .Messages }}<|im_start|>{{ .Role }}")
        else:
            assert shown == jinja


def test_show_verbose_lists_tensors(server: Server, base: str) -> None:
    tensors = server.ok("/api/show", model=base, verbose=True)["tensors"]
    first = next(t for t in tensors if t["name"] == "blk.0.ffn_gate.weight")
    assert (first["type"], first["shape"]) == ("F16", [256, 512])


def test_show_with_another_system(server: Server, base: str) -> None:
    assert server.ok("/api/show", model=base, system="override")["system"] == "override"


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"model": "no-such"}, 404, "model 'no-such:latest' not found"),
        ({"name": "no-such:tag"}, 404, "model 'no-such:tag' not found"),
        ({"model": ""}, 400, "model is required"),
        ({}, 400, "model is required"),
        ({"model": "bad name!"}, 400, "invalid model name"),
    ],
)
def test_show_errors(server: Server, body: dict[str, str], status: int, text: str) -> None:
    said, error = server.refused("/api/show", **body)
    assert said == status
    # Before 0.34 the name stood there as it was asked for.
    assert error == text or (server.version < (0, 34) and status in (400, 404))


def test_copy_makes_a_second_name_for_the_same(server: Server, tiny: Path) -> None:
    name, other = fresh_name("original"), fresh_name("copy")
    server.create(name, tiny, system="copied")
    for _ in range(2):  # the second time it overwrites, and asks nothing
        answer = server.post("/api/copy", source=name, destination=f"{other}:v2")
        assert (answer.status_code, answer.text) == (200, "")
    assert server.ok("/api/show", model=f"{other}:v2")["system"] == "copied"
    tags = server.tags()
    assert tags[f"{name}:latest"]["digest"] == tags[f"{other}:v2"]["digest"]
    assert server.post("/api/copy", source=name, destination=name).status_code == 200


@pytest.mark.parametrize(
    ("source", "destination", "status", "text"),
    [
        ("no-such", "x", 404, 'model "no-such" not found'),
        ("bad name!", "x", 400, 'source "bad name!" is invalid'),
        ("no-such", "bad name!", 400, 'destination "bad name!" is invalid'),
        ("no-such", "", 400, 'destination "" is invalid'),
    ],
)
def test_copy_errors(server: Server, source: str, destination: str, status: int, text: str) -> None:
    said = server.refused("/api/copy", source=source, destination=destination)
    assert said == (status, text)


def test_delete_takes_the_tag_and_its_own_layers(server: Server, tiny: Path) -> None:
    name = fresh_name("deleted")
    system = f"only in {name}"
    server.create(name, tiny, system=system)
    keeper = fresh_name("keeper")
    server.create(keeper, tiny)
    answer = server.ask("DELETE", "/api/delete", json={"model": name.upper()})
    assert (answer.status_code, answer.text) == (200, "")
    assert f"{name}:latest" not in server.tags()
    assert server.head_blob(digest_of(system.encode())) == 404
    assert server.ok("/api/generate", model=keeper)["done_reason"] == "load"
    again = server.ask("DELETE", "/api/delete", json={"name": name})
    assert (again.status_code, again.json()["error"]) == (404, f"model '{name}' not found")


@pytest.mark.parametrize(
    ("body", "text"),
    [({"model": "bad name!"}, 'name "bad name!" is invalid'), ({"model": ""}, "model is required")],
)
def test_delete_errors(server: Server, body: dict[str, str], text: str) -> None:
    answer = server.ask("DELETE", "/api/delete", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"] == text or server.version < (0, 34)


def test_delete_with_no_body(server: Server) -> None:
    answer = server.ask("DELETE", "/api/delete")
    assert (answer.status_code, answer.json()["error"]) == (400, "missing request body")
