"""A proxy between deployq and a server: it has one of them killed at a request, or meddles.

Its address stays the same while the server behind it comes and goes. While that is down nobody
listens there, as with the real one.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

from tests.http_servers import serving

Moment = Literal["before", "during", "after"]

HOP = {"transfer-encoding", "connection", "content-length", "date", "server"}
TIMEOUT_SECONDS = 120.0
NOTES = (b":in-use.", b":owners")
NOTE_BYTES = 2000  # and no weights are so small
# So long an answer is under way before it is cut: a model takes its time, a copy takes none.
UNDER_WAY_SECONDS = {"/api/chat": 0.1}


@dataclass(frozen=True)
class Strike:
    """The `nth` request that starts so (`POST /api/copy`), and when.

    Before the server hears of it, during its work (half of a blob is there), or after it, when
    nobody has heard of that yet.
    """

    request: str
    nth: int
    moment: Moment

    def __str__(self) -> str:
        return f"{self.moment} {self.request.replace('/api/', '').strip('/')} {self.nth}"


class FatalProxy:
    """Hands requests on to `server`; calls `kill` at the strike that it was given, once."""

    def __init__(self) -> None:
        self.server = ""
        self.kill: Callable[[], None] = lambda: None
        # Called with each request (`POST /api/copy`); a status is answered in the server's place.
        self.meddle: Callable[[str], int | None] = lambda _: None
        self.struck = False
        self._strike: Strike | None = None
        self._seen = 0
        self._guard = threading.Lock()
        self._listening = ExitStack()
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def listen(self) -> None:
        """Take requests, at the same address as ever."""
        listener = self._listening.enter_context(serving(self._handler(), _Quiet, self._port))
        self._port = listener.server_address[1]

    def hang_up(self) -> None:
        """Take none any more."""
        self._listening.close()

    def strike_at(self, strike: Strike | None, kill: Callable[[], None]) -> None:
        self._strike, self._seen, self.struck, self.kill = strike, 0, False, kill

    def fate_of(self, request: str) -> Moment | None:
        """When during this request to strike, if at all."""
        with self._guard:
            strike = self._strike
            if strike is None or not request.startswith(strike.request):
                return None
            self._seen += 1
            return strike.moment if self._seen == strike.nth else None

    def strike(self) -> None:
        self._strike = None
        self.struck = True
        self.kill()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return type("Handler", (_Handler,), {"proxy": self})


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Somebody was killed and hangs up: that is what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    proxy: FatalProxy

    def log_message(self, *_: object) -> None:
        pass

    def _hand_on(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length // 2 if self.path.startswith("/api/blobs/") else length)
        request = _named(self.command, self.path, body, length)
        moment = self.proxy.fate_of(request)
        if not (moment == "during" and len(body) < length):
            body += self.rfile.read(length - len(body))
        if refused := self.proxy.meddle(request):
            self._refuse(refused)
            return
        if moment == "before":
            self._end()
            return
        with _asked(self.proxy.server, self.command, self.path, body, length) as asked:
            if moment == "during":
                time.sleep(UNDER_WAY_SECONDS.get(self.path, 0))
                self._end()
                return
            answer = asked.getresponse()
            content = answer.read()
            if moment == "after":
                self._end()
                return
            self._give(answer, content)

    do_GET = do_POST = do_HEAD = do_DELETE = _hand_on  # noqa: N815

    def _end(self) -> None:
        self.close_connection = True
        self.proxy.strike()

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _give(self, answer: http.client.HTTPResponse, content: bytes) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _named(command: str, path: str, body: bytes, length: int) -> str:
    """`POST /api/copy`; one that wants to see the prompt, but no answer, is a `RENDER`.

    What writes a marker or takes it away is a `MARK`: `MARK /api/create`.
    """
    if b"_debug_render_only" in body:
        return f"RENDER {path}"
    blob = path.startswith("/api/blobs/") and 0 < length < NOTE_BYTES
    changes = path in ("/api/create", "/api/delete")
    mark = blob or (changes and any(name in body for name in NOTES))
    return f"{'MARK' if mark else command} {path}"


@contextmanager
def _asked(
    server: str, command: str, path: str, body: bytes, length: int
) -> Iterator[http.client.HTTPConnection]:
    """A request on its way; a body may be shorter than the `length` that is announced."""
    connection = http.client.HTTPConnection(urlsplit(server).netloc, timeout=TIMEOUT_SECONDS)
    try:
        connection.putrequest(command, path)
        connection.putheader("Content-Length", str(length))
        connection.endheaders(body)
        yield connection
    finally:
        with suppress(OSError):
            connection.close()
