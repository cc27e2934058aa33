"""Servers that answer anything: a record of right types, or an error that names server and request.

One value at a time of a right answer becomes something else; proxies and portals answer for them.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from deployq.errors import ServerError, ServerRefused
from deployq.tags import records
from deployq.tags.server import Server
from tests.http_servers import serving, url_of
from tests.nasty import TEXTS, VALUES, changed, guarded, places, raised
from tests.tags.replay import scenario

SHARE = 1.0 if os.environ.get("DEPLOYQ_TEST_NASTY") else 0.05
PORTAL = b"<!DOCTYPE html><html><title>Sign in</title>Accept the terms of this network</html>"
GENERATED = {
    "model": "m", "response": "yes", "done": True, "done_reason": "stop", "context": [1],
    "prompt_eval_count": 3, "eval_count": 1, "eval_duration": 5, "load_duration": 7,
    "logprobs": [
        {"token": "yes", "logprob": -0.1, "top_logprobs": [{"token": "no", "logprob": -3}]},
    ],
}  # fmt: skip
TAG = {
    "name": "m:latest", "size": 3, "digest": "0" * 64, "modified_at": "2026-01-01T00:00:00Z",
    "details": {"family": "llama", "quantization_level": "Q8_0", "parameter_size": "1M"},
}  # fmt: skip
SHOWN = {
    "modelfile": "FROM /blobs/sha256-00\n", "template": "{{ .Prompt }}", "system": "",
    "parameters": "temperature 0\nstop \"a\"", "license": "MIT", "capabilities": ["completion"],
    "messages": [{"role": "user", "content": "hi"}], "details": {}, "requires": "0.30",
}  # fmt: skip
CHAT = GENERATED | {"message": {"role": "assistant", "content": "yes", "tool_calls": [{}]}}
DEBUG = {"_debug_info": {"rendered_template": "hi"}}


def requests(name: str) -> Callable[[Server], object]:
    """A request by its name; each reads what it got."""
    calls: dict[str, Callable[[Server], object]] = {
        "tell its version": lambda s: s.ensure_supported(),
        "list its tags": lambda s: sorted(s.tags(), key=lambda t: (t.size_bytes, t.digest)),
        "list its loaded models": lambda s: [(r.n_ctx or 0) + r.vram_bytes for r in s.ps()],
        "show m": lambda s: s.show("m").template.splitlines(),
        "load m": lambda s: s.load("m"),
        "unload m": lambda s: s.unload("m"),
        "generate with m": lambda s: s.generate("m", "x", options={}).tokens + 1,
        "chat with m": lambda s: s.chat("m", (), options={}).text.splitlines(),
        "render a conversation for m": lambda s: (s.render("m", ()) or "").splitlines(),
        "stream": lambda s: [
            sum(step.logprob for step in piece.steps) for piece in s.stream("m", "x", options={})
        ],
    }
    return calls[name]


RIGHT: dict[str, Any] = {
    "tell its version": {"version": "0.34.4"},
    "list its tags": {"models": [TAG]},
    "list its loaded models": {"models": [TAG | {"size_vram": 1, "context_length": 512}]},
    "show m": SHOWN,
    "load m": {"done": True},
    "unload m": {"done": True},
    "generate with m": GENERATED,
    "chat with m": CHAT,
    "render a conversation for m": DEBUG,
    "stream": GENERATED,
}


class Answering(BaseHTTPRequestHandler):
    """Answers everything with what it was last given."""

    protocol_version = "HTTP/1.1"
    body: bytes = b""
    status: int = 200

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


Give = Callable[[bytes, int], None]


@pytest.fixture
def answering() -> Iterator[tuple[Server, Give]]:
    """A server, and what decides its next answer."""

    class Handler(Answering):
        """Of this test alone."""

    def give(body: bytes, status: int = 200) -> None:
        Handler.body, Handler.status = body, status

    with serving(Handler) as http, Server(url_of(http), timeout_seconds=20) as server:
        yield server, give


def test_the_right_answers_are_taken(answering: tuple[Server, Give]) -> None:
    server, give = answering
    for name, right in RIGHT.items():
        give(json.dumps(right).encode(), 200)
        requests(name)(server)


@pytest.mark.parametrize("name", RIGHT)
def test_an_answer_of_anything(answering: tuple[Server, Give], name: str) -> None:
    server, give = answering
    numbers = random.Random(name)
    bodies = [
        json.dumps(changed(RIGHT[name], path, value)).encode()
        for path in places(RIGHT[name])
        for value in VALUES
        if numbers.random() < SHARE
    ]
    for body in (*bodies, *TEXTS, PORTAL):
        give(body, 200)
        with guarded():
            refused = raised(lambda: requests(name)(server), ServerError)
        if refused is not None:
            assert refused.message.startswith(server.url)
            assert name in refused.message or name == "stream"
            refused.message.encode()


@pytest.mark.parametrize("name", RIGHT)
def test_a_portal_and_an_error_under_200(answering: tuple[Server, Give], name: str) -> None:
    server, give = answering
    give(PORTAL, 200)
    with pytest.raises(ServerError, match=f"^{server.url}, asked to .* no JSON: <!DOCTYPE html>"):
        requests(name)(server)
    give(b'{"error": "quota exceeded"}', 200)
    with pytest.raises(ServerRefused, match=f"^{server.url} refused to .*: quota exceeded"):
        requests(name)(server)
    give(PORTAL, 511)
    with pytest.raises(ServerRefused, match="Sign in"):
        requests(name)(server)


class Endless(BaseHTTPRequestHandler):
    """Sends one line that never ends, as fast as it is taken."""

    status = 200

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.status)
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b"[" * (1 << 20))

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    ("name", "status"), [("tell its version", 500), ("generate with m", 200), ("stream", 200)]
)
def test_an_answer_without_an_end(name: str, status: int) -> None:
    handler = type("Handler", (Endless,), {"status": status})
    with (
        serving(handler) as http,
        Server(url_of(http), first_answer_seconds=60) as server,
        guarded(60),
        pytest.raises(ServerError, match="longer than 128 MiB" if status == 200 else r"\[\[\["),
    ):
        requests(name)(server)


def test_recorded_answers_of_ollama_are_taken() -> None:
    """What the reader takes is not narrower than what real servers say."""
    taken = 0
    for number in ("12", "13", "14"):
        for step in scenario(number):
            answer = step["response"].get("json")
            if step["response"]["status"] == 200 and isinstance(answer, dict):
                taken += _read(step["request"]["path"], answer)
    assert taken > 5


def _read(path: str, answer: dict[str, Any]) -> int:
    readers: dict[str, Callable[[], object]] = {
        "/api/show": lambda: records.shown(answer),
        "/api/tags": lambda: [records.tag(one) for one in answer["models"]],
        "/api/ps": lambda: [records.loaded(one) for one in answer["models"]],
    }
    if path not in readers:
        return 0
    readers[path]()
    return 1
