"""Local HTTP servers: one that replays recorded exchanges with Ollama, one that misbehaves."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from deployq.tags.server import Server
from tests.http_servers import serving, url_of

CONTRACT = Path(__file__).resolve().parent.parent / "data" / "ollama-contract"
IDENTITY = ("model", "source", "destination")


@dataclass(frozen=True)
class Seen:
    """A request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Recorded:
    """A running server; `seen` are the requests so far."""

    url: str
    steps: list[dict[str, Any]]
    seen: list[Seen] = field(default_factory=list)

    def answer(self, seen: Seen) -> dict[str, Any]:
        """The next recorded answer to such a request; each is given once."""
        self.seen.append(seen)
        for number, step in enumerate(self.steps):
            if _is_answer_to(step["request"], seen):
                return dict(self.steps.pop(number)["response"])
        return {
            "status": 599,
            "text": f"not recorded: {seen.method} {seen.path} {seen.body[:80]!r}",
        }


def scenario(name: str) -> list[dict[str, Any]]:
    """The exchanges of one recorded scenario, by its number: "03"."""
    file = next(CONTRACT.glob(f"{name}-*.json"))
    steps = json.loads(file.read_text(encoding="utf-8"))["steps"]
    return [_whole(step) for step in steps if "request" in step]


@contextlib.contextmanager
def replaying(steps: Sequence[dict[str, Any]]) -> Iterator[Recorded]:
    """A server that answers each request as it was answered in `steps`."""
    with serving(_Handler) as http:
        recorded = Recorded(url_of(http), list(steps))
        http.recorded = recorded  # type: ignore[attr-defined]
        yield recorded


@contextlib.contextmanager
def misbehaving(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server whose answers are what `behave` does with the connection; gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                if ended.is_set():
                    return
                _read_request(connection)
                behave(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    address = listener.getsockname()
    try:
        yield f"http://127.0.0.1:{address[1]}"
    finally:
        ended.set()
        socket.create_connection(address).close()
        thread.join()
        listener.close()


@contextlib.contextmanager
def served(steps: Sequence[dict[str, Any]]) -> Iterator[tuple[Recorded, Server]]:
    """A replaying server, and a client for it."""
    with replaying(steps) as recorded, Server(recorded.url) as server:
        yield recorded, server


@contextlib.contextmanager
def facing(behave: Callable[[socket.socket], None], seconds: float = 30) -> Iterator[Server]:
    """A client that faces a misbehaving server and waits so long for it."""
    with (
        misbehaving(behave) as url,
        Server(url, timeout_seconds=seconds, generate_timeout_seconds=seconds) as server,
    ):
        yield server


def saying(body: bytes) -> Callable[[socket.socket], None]:
    """Answers each request with that body."""
    return lambda connection: connection.sendall(reply(body))


def reply(body: bytes, *, status: str = "200 OK", kind: str = "application/json") -> bytes:
    """A whole HTTP answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


def chunked_start(line: bytes) -> bytes:
    """The start of an answer in chunks, with one line in it."""
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n"
    )
    return head + b"\r\n" + f"{len(line) + 1:x}".encode() + b"\r\n" + line + b"\n\r\n"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: else each answer waits for the client

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        recorded: Recorded = self.server.recorded  # type: ignore[attr-defined]
        seen = Seen(self.command, self.path, dict(self.headers.items()), body)
        self._answer(recorded.answer(seen))

    do_GET = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815

    def _answer(self, answer: dict[str, Any]) -> None:
        content = _content(answer)
        self.send_response(answer["status"])
        for name, value in answer.get("headers", {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _content(answer: dict[str, Any]) -> bytes:
    if "ndjson" in answer:
        return b"".join(json.dumps(line).encode() + b"\n" for line in answer["ndjson"])
    if "json" in answer:
        return json.dumps(answer["json"]).encode()
    return str(answer.get("text", "")).encode()


def _is_answer_to(request: dict[str, Any], seen: Seen) -> bool:
    if (request["method"], request["path"]) != (seen.method, seen.path):
        return False
    recorded = request.get("json")
    if not isinstance(recorded, dict):
        return True
    return all(recorded.get(key) == seen.json.get(key) for key in IDENTITY)


def _whole(value: Any) -> Any:
    """Without the marks of what was left out of the recording."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value if not str(item).startswith("...truncated")]
    return value


def _read_request(connection: socket.socket) -> None:
    """Reads a request; of a large body only the start."""
    connection.settimeout(5)
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536) or b"\r\n\r\n"
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    wanted = min(int(length.group(1)) if length else 0, 65536)
    while len(body) < wanted:
        body += connection.recv(65536) or b" " * wanted
