from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpcore
import httpx
import ollama
import pydantic
import pytest
import requests

from deployq.errors import (
    ConfigError,
    ServerError,
    ServerRefused,
    ServerTimeout,
    ServerUnreachable,
)
from deployq.tags.foreign import FOREIGN, translate
from deployq.tags.modelfile import Modelfile
from deployq.tags.refusal import Refusal
from deployq.tags.server import Server
from deployq.tags.transport import timeouts_of
from deployq.tags.wire import _lines
from deployq.types import Message
from tests.tags.replay import chunked_start, facing, reply, saying, served

REQUEST = httpx.Request("GET", "http://x")


def classes_of(*modules: Any) -> list[type[Exception]]:
    found = {
        item
        for module in modules
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Exception) and not issubclass(item, Warning)
    }
    return sorted(found, key=lambda item: f"{item.__module__}.{item}")


def instance(kind: type[Exception]) -> Exception:
    if issubclass(kind, httpx.HTTPStatusError):
        return kind("boom", request=REQUEST, response=httpx.Response(500, request=REQUEST))
    if issubclass(kind, json.JSONDecodeError):
        return kind("boom", "", 0)
    for arguments in (("boom",), ("boom", "boom"), ()):
        try:
            return kind(*arguments)
        except TypeError:
            continue
    raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind",
    [
        *classes_of(httpcore, httpx, requests.exceptions, ollama),
        *(ConnectionResetError, BrokenPipeError, TimeoutError, OSError),
    ],
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_whatever_a_library_raises_becomes_ours(kind: type[Exception]) -> None:
    assert issubclass(kind, FOREIGN)
    error = translate(instance(kind), "http://box:1", "show task-api:q4", timeouts_of(5, 7))
    assert isinstance(error, ServerError)
    assert error.exit_code == 5
    assert "http://box:1" in error.message
    assert error.hint or isinstance(error, ServerRefused)


@pytest.mark.parametrize(
    ("foreign", "ours", "said"),
    [
        (Refusal("no room", 500), ServerRefused, "refused to show x: no room"),
        (Refusal("", 502), ServerRefused, "HTTP 502"),
        (Refusal("in a stream"), ServerRefused, "in a stream"),
        (ollama.ResponseError("no room", 500), ServerRefused, "refused to show x: no room"),
        (ollama.ResponseError("", 502), ServerRefused, "HTTP 502"),
        (ollama.ResponseError("in a stream"), ServerRefused, "in a stream"),
        (httpcore.ConnectError("refused"), ServerUnreachable, "no Ollama server answers"),
        (httpcore.ConnectTimeout("slow"), ServerUnreachable, "no connection within 5 s"),
        (httpcore.ReadTimeout("x"), ServerTimeout, "did not answer within 7 s"),
        (httpcore.RemoteProtocolError("cut"), ServerError, "went away while asked to show x: cut"),
        (httpx.ConnectError("refused"), ServerUnreachable, "no Ollama server answers"),
        (httpx.ConnectTimeout(""), ServerUnreachable, "no connection within 5 s"),
        (ConnectionError("x"), ServerUnreachable, "no Ollama server answers"),
        (requests.ConnectionError("x"), ServerUnreachable, "no Ollama server answers"),
        (httpx.UnsupportedProtocol("ftp"), ServerUnreachable, "no address"),
        (httpx.ReadTimeout("x"), ServerTimeout, "did not answer within 7 s"),
        (httpx.PoolTimeout("x"), ServerTimeout, "did not answer within 7 s"),
        (requests.ReadTimeout("x"), ServerTimeout, "did not answer within 7 s"),
        (httpx.RemoteProtocolError("cut"), ServerError, "went away while asked to show x: cut"),
        (httpx.ReadError(""), ServerError, "went away while asked to show x: ReadError"),
        (ConnectionResetError(104, "reset"), ServerError, "went away"),
        (KeyError("models"), ServerError, "makes no sense"),
    ],
)
def test_each_kind_has_its_error(foreign: Exception, ours: type[ServerError], said: str) -> None:
    error = translate(foreign, "http://box:1", "show x", timeouts_of(5, 7))
    assert type(error) is ours
    assert said in error.message


def test_the_status_is_kept_and_none_inside_a_stream() -> None:
    for given, status in ((404, 404), (-1, None)):
        error = translate(
            ollama.ResponseError("x", given), "http://box:1", "show x", timeouts_of(5, 7)
        )
        assert isinstance(error, ServerRefused)
        assert error.status == status


def test_pydantic_errors_are_covered() -> None:
    assert issubclass(pydantic.ValidationError, FOREIGN)


@pytest.mark.parametrize("url", ["http://[::1", "http://host:port", "http://a:99999999"])
def test_what_is_no_address_is_a_mistake_in_the_configuration(url: str) -> None:
    with pytest.raises(ConfigError, match="is no address of a server"):
        Server(url)


# ------------------------------------------------------------ keys


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://box.example:11434", False),
        ("https://box.example", True),
        ("http://127.0.0.1:1", True),
    ],
)
def test_a_key_goes_over_https_or_stays_on_this_machine(
    url: str, sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "top-secret")
    with Server(url) as server:
        assert bool(server._wire.access.authorization) is sent


def test_a_key_reaches_a_local_server_also_with_an_upload(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "top-secret")
    (tmp_path / "f").write_bytes(b"x")
    steps: list[dict[str, Any]] = [
        {
            "request": {"method": "HEAD", "path": "/api/blobs/sha256:ab"},
            "response": {"status": 404},
        },
        {
            "request": {"method": "POST", "path": "/api/blobs/sha256:ab"},
            "response": {"status": 201},
        },
    ]
    with served(steps) as (recorded, server):
        assert not server.has_blob("ab")
        assert server.upload_blob(tmp_path / "f", "ab")
    keys = [{k.lower(): v for k, v in seen.headers.items()} for seen in recorded.seen]
    assert [key.get("authorization") for key in keys] == ["Bearer top-secret"] * 2


# ------------------------------------------------------------ servers that misbehave


CALLS: list[tuple[str, Callable[[Server], object]]] = [
    ("version", lambda s: s.version()),
    ("tags", lambda s: s.tags()),
    ("ps", lambda s: s.ps()),
    ("show", lambda s: s.show("a")),
    ("has_blob", lambda s: s.has_blob("ab")),
    ("copy", lambda s: s.copy("a", "b")),
    ("delete", lambda s: s.delete("a")),
    ("load", lambda s: s.load("a")),
    ("unload", lambda s: s.unload("a")),
    ("chat", lambda s: s.chat("a", [Message("user", "hi")], options={})),
    ("generate", lambda s: s.generate("a", "hi", options={})),
    ("render", lambda s: s.render("a", [])),
]
EVERY_CALL = pytest.mark.parametrize("call", [c for _, c in CALLS], ids=[n for n, _ in CALLS])
# A copy or a delete has no answer to make no sense of; HEAD has a status alone.
CALLS_WITH_ANSWERS = [c for c in CALLS if c[0] not in ("has_blob", "copy", "delete")]
ANSWERED = pytest.mark.parametrize(
    "call", [c for _, c in CALLS_WITH_ANSWERS], ids=[n for n, _ in CALLS_WITH_ANSWERS]
)


@pytest.fixture
def closed_port() -> Iterator[str]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@EVERY_CALL
def test_nothing_listens(call: Callable[[Server], object], closed_port: str) -> None:
    with Server(closed_port) as server, pytest.raises(ServerUnreachable) as caught:
        call(server)
    assert "refused" in caught.value.message
    assert "ollama serve" in caught.value.hint


@EVERY_CALL
def test_a_server_that_never_answers(call: Callable[[Server], object]) -> None:
    def wait(connection: socket.socket) -> None:
        connection.recv(1)

    start = time.monotonic()
    with facing(wait, 0.4) as server, pytest.raises(ServerTimeout, match=r"within 0\.4 s"):
        call(server)
    assert time.monotonic() - start < 3


@EVERY_CALL
def test_a_server_that_hangs_up(call: Callable[[Server], object]) -> None:
    with facing(lambda _: None) as server, pytest.raises(ServerError, match="went away while"):
        call(server)


@EVERY_CALL
def test_a_server_with_an_error_page(call: Callable[[Server], object]) -> None:
    page = reply(b"<html>\nBad gateway</html>", status="502 Bad Gateway", kind="text/html")
    with facing(lambda c: c.sendall(page)) as server, pytest.raises(ServerRefused) as caught:
        call(server)
    assert caught.value.status == 502


def test_a_server_of_this_machine_that_sends_elsewhere_is_not_followed() -> None:
    moved = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: https://elsewhere.example/\r\n"
    answer = moved + b"Content-Length: 0\r\nConnection: close\r\n\r\n"
    with facing(lambda c: c.sendall(answer)) as server, pytest.raises(ServerRefused) as caught:
        server.tags()
    assert caught.value.status == 307


def test_lines_are_whole_wherever_their_body_is_cut() -> None:
    body = '{"a": "Zoë\u2028"}\r\n\n{"b": 2}\n{"c": 3}'.encode()
    wanted = [line for line in body.split(b"\n") if line]
    for size in range(1, len(body) + 1):
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        assert list(_lines(pieces)) == wanted


@ANSWERED
@pytest.mark.parametrize(
    "body", [b"<html>hello</html>", b"", b"[]", b"{}", b"null", b'"x"', b"{\xff}", b'{"models": 5}']
)
def test_an_answer_that_makes_no_sense(call: Callable[[Server], object], body: bytes) -> None:
    with facing(saying(body)) as server, pytest.raises(ServerError, match="makes no sense"):
        call(server)


@pytest.mark.parametrize("begun", [b"Content-Length: 100000\r\n\r\n", b"X-Slow: "])
@pytest.mark.parametrize("call", [c for name, c in CALLS if name in ("version", "tags", "show")])
def test_an_answer_that_comes_in_drops_for_ever(
    call: Callable[[Server], object], begun: bytes
) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + begun)
        for _ in range(100):
            connection.sendall(b" ")
            time.sleep(0.05)

    start = time.monotonic()
    with facing(drip, 0.4) as server, pytest.raises(ServerTimeout, match=r"within 0\.4 s"):
        call(server)
    assert time.monotonic() - start < 3


@pytest.mark.parametrize(
    ("line", "error", "said"),
    [
        (b'{"status": "parsing GGUF"}', ServerError, "went away while asked to create a"),
        (b'{"status": "parsing', ServerError, "makes no sense"),
        (b'{"oops": 1}', ServerError, "it has no 'status'"),
        (b"[1]", ServerError, "makes no sense"),
        (b'{"error": "no space left on device"}', ServerRefused, "no space left on device"),
    ],
)
def test_a_create_that_breaks_off(line: bytes, error: type[ServerError], said: str) -> None:
    start = chunked_start(line)
    with facing(lambda c: c.sendall(start)) as server, pytest.raises(error, match=said):
        server.create("a", Modelfile("f.gguf"), {"f.gguf": "ab"})
