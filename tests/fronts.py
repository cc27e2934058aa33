"""What stands before a server on the way to it: wants a key, speaks TLS, is slow, sees all."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from tests.http_servers import serving, url_of

HOP = {"transfer-encoding", "connection", "content-length", "date", "server"}


@dataclass
class Front:
    """Hands requests on to a server.

    `key`: the Authorization that it wants, and repeats where it is another. `rate`: bytes a
    second that it takes of an upload. `before`: called with each request before that is handed
    on; what it returns is answered instead.
    """

    server: str
    url: str = ""
    key: str | None = None
    rate: float | None = None
    before: Callable[[str, str], tuple[int, bytes] | None] = lambda _method, _path: None
    seen: list[str] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def count(self, start: str) -> int:
        return sum(line.startswith(start) for line in self.seen)


@contextmanager
def front_of(
    server: str,
    *,
    tls: ssl.SSLContext | None = None,
    key: str | None = None,
    rate: float | None = None,
) -> Iterator[Front]:
    """A front before a server, on a port of its own."""
    front = Front(server, key=key, rate=rate)

    class Handler(_Handler):
        pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> tuple[Any, Any]:
            connection, address = super().get_request()
            if tls is not None:
                connection = tls.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
            return connection, address

        def handle_error(self, *_: object) -> None:
            """A client that hangs up, or that does not trust us: that is what this is for."""

    Handler.front = front
    with serving(Handler, Quiet) as http:
        front.url = url_of(http).replace("http:", "https:" if tls else "http:")
        yield front


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    front: Front

    def log_message(self, *_: object) -> None:
        pass

    def _body(self) -> bytes:
        length, rate, content = int(self.headers.get("Content-Length") or 0), self.front.rate, b""
        while len(content) < length:
            chunk = self.rfile.read(min(1 << 16, length - len(content)))
            if not chunk:
                break
            content += chunk
            if rate and self.path.startswith("/api/blobs/"):
                time.sleep(len(chunk) / rate)
        return content

    def _hand_on(self) -> None:
        front, line = self.front, f"{self.command} {self.path}"
        with front.guard:
            front.seen.append(line)
        body = self._body()
        given = self.headers.get("Authorization")
        if front.key is not None and given != front.key:
            self._answer(401, f"who are you, {given}?".encode())
        elif (answer := front.before(self.command, self.path)) is not None:
            self._answer(*answer)
        else:
            real = requests.request(self.command, front.server + self.path, data=body, timeout=120)
            self._answer(real.status_code, real.content, dict(real.headers))

    do_GET = do_POST = do_HEAD = do_DELETE = _hand_on  # noqa: N815

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            if name.lower() not in HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
