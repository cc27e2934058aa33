"""Blobs and create: against recorded exchanges with Ollama."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from deployq.errors import ArtifactError, ModelfileError, ServerError, ServerRefused
from deployq.tags.modelfile import Modelfile
from deployq.tags.request_fields import create_fields
from deployq.tags.server import Server
from deployq.types import Message
from tests.tags.replay import facing, misbehaving, reply, saying, scenario, served

SMOL = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FULL = Modelfile(
    from_="SmolLM2.gguf",
    template="{{ if .System }}S:{{ .System }}\n{{ end }}U:{{ .Prompt }}\nA:{{ .Response }}",
    system="Be terse.",
    parameters={"temperature": 0, "seed": 7, "num_predict": 4, "stop": ("\nU:", "END")},
    messages=(Message("user", "hi"), Message("assistant", "hello")),
    license=("License A", "License B"),
)


# ------------------------------------------------------------ blobs


@pytest.fixture
def blob(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "artifact.gguf"
    path.write_bytes(b"hello blob\n")
    return path, hashlib.sha256(b"hello blob\n").hexdigest()


def blob_steps(digest: str, *answers: tuple[str, int, str]) -> list[dict[str, Any]]:
    return [
        {
            "request": {"method": method, "path": f"/api/blobs/sha256:{digest}"},
            "response": {"status": status, "json": {"error": words}},
        }
        for method, status, words in answers
    ]


def test_upload(blob: tuple[Path, str]) -> None:
    path, digest = blob
    told: list[tuple[str, float, float | None, str]] = []
    steps = [s for s in scenario("02") if digest in s["request"]["path"]]
    # The recording's first upload to that name carried other content.
    steps = [s for s in steps if s["response"]["status"] in (404, 201)]
    with served(steps) as (recorded, server):
        assert server.upload_blob(path, digest, lambda *args: told.append(args))
    upload = recorded.seen[-1]
    assert upload.body == b"hello blob\n"
    assert upload.headers["Content-Length"] == "11"
    assert told[-1] == ("artifact.gguf", 11, 11, "bytes")


def test_a_file_that_changed_since_it_was_hashed(blob: tuple[Path, str]) -> None:
    path, digest = blob
    mismatch = scenario("02")[1]["response"]["json"]["error"]
    steps = blob_steps(digest, ("POST", 400, mismatch))
    with (
        served(steps) as (_, server),
        pytest.raises(ServerRefused, match="digest mismatch, expected"),
    ):
        server.upload_blob(path, digest)


@pytest.mark.parametrize(("then", "fails"), [(200, False), (404, True)])
def test_an_upload_that_another_client_was_faster_with(
    tmp_path: Path, then: int, fails: bool
) -> None:
    path = tmp_path / "big.gguf"
    path.write_bytes(b"x" * 8_000_000)
    calls = iter(["POST", "HEAD"])

    def behave(connection: Any) -> None:
        # An upload is cut off without being read; then a HEAD is answered.
        if next(calls) == "HEAD":
            connection.sendall(reply(b"", status=f"{then} X"))

    with misbehaving(behave) as url, Server(url) as server:
        if fails:
            with pytest.raises(ServerError, match=r"take blob big\.gguf"):
                server.upload_blob(path, "ab")
        else:
            assert not server.upload_blob(path, "ab")


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with (
        served([]) as (_, server),
        pytest.raises(ArtifactError, match="cannot read"),
    ):
        server.upload_blob(tmp_path / "gone.gguf", "ab")


def test_a_blob_question_that_is_refused() -> None:
    with (
        served(blob_steps("abc", ("HEAD", 400, ""))) as (_, server),
        pytest.raises(ServerRefused, match="HTTP 400"),
    ):
        server.has_blob("abc")


# ------------------------------------------------------------ create


def test_create() -> None:
    told: list[float] = []
    with served(scenario("03")) as (_, server):
        statuses = server.create(
            "contract-base",
            Modelfile("SmolLM2.gguf"),
            {"SmolLM2.gguf": SMOL},
            lambda _task, done, _total, _unit: told.append(done),
        )
    assert statuses[0] == "parsing GGUF"
    assert statuses[-1] == "success"
    assert told == list(range(1, len(statuses) + 1))


def test_create_says_what_the_modelfile_says() -> None:
    steps = scenario("05")
    with served(steps) as (recorded, server):
        server.create("contract-full", FULL, {"SmolLM2.gguf": SMOL})
        shown = server.show("contract-full")
    wanted = {**steps[0]["request"]["json"], "stream": True}
    assert recorded.seen[0].json == wanted
    assert shown.system == FULL.system
    assert shown.template == FULL.template
    assert shown.parameters == FULL.parameters
    assert shown.messages == (("user", "hi"), ("assistant", "hello"))


def test_create_sends_no_empty_field() -> None:
    assert create_fields(Modelfile("a.gguf"), {"a.gguf": "ab"}) == {
        "files": {"a.gguf": "sha256:ab"}
    }


def test_a_file_that_is_not_registered_is_refused() -> None:
    with pytest.raises(ModelfileError, match=r"FROM llama3: deployq registers a\.gguf"):
        create_fields(Modelfile("llama3"), {"a.gguf": "ab"})
    with pytest.raises(ModelfileError, match=r"ADAPTER b\.gguf"):
        create_fields(Modelfile("a.gguf", adapter="b.gguf"), {"a.gguf": "ab"})


def test_an_adapter_is_no_file_of_weights() -> None:
    fields = create_fields(Modelfile("a", adapter="b"), {"a": "1", "b": "2"})
    assert fields == {"files": {"a": "sha256:1"}, "adapters": {"b": "sha256:2"}}


FAULTY = [
    s for s in scenario("08") if s["response"].get("status") != 200 or "ndjson" in s["response"]
]
REFUSED = [s for s in FAULTY if s["response"]["status"] != 200 or "error" in str(s["response"])]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_every_recorded_refusal_of_a_create_is_noticed(number: int) -> None:
    """Plain errors and error lines under HTTP 200 alike."""
    step = REFUSED[number]
    response = step["response"]
    lines = response.get("ndjson") or [response.get("json") or {"error": response.get("text")}]
    step["request"]["json"]["model"] = "contract-err"
    with served([step]) as (_, server), pytest.raises(ServerRefused) as caught:
        server.create("contract-err", Modelfile("m.gguf"), {"m.gguf": "ab"})
    assert " ".join(lines[-1]["error"].split()) in caught.value.message
    streamed = response["status"] == 200
    assert caught.value.status == (None if streamed else response["status"])


def test_a_create_without_a_last_success_is_no_success() -> None:
    line = json.dumps({"status": "writing manifest"}).encode() + b"\n"
    with facing(saying(line)) as server, pytest.raises(ServerError, match="its last word was"):
        server.create("a", Modelfile("f"), {"f": "ab"})
