"""How requests reach a server: straight to one of this machine, by way of proxies and TLS else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import httpcore

from deployq import __version__

MOST_CONNECTIONS = 100
IDLE_SECONDS = 5.0
"""How long a connection without a request is kept; a server closes it after longer."""

Timeouts = Mapping[str, float]
"""Seconds: `connect`, and `read`, `write` and `pool`, each for as long as nothing moves."""


MAX_TEXT_BYTES = 1 << 20


class Response(NamedTuple):
    """An answer that has begun: its status, and its body as it comes in; `date` is its header."""

    status: int
    chunks: Iterator[bytes]
    date: str = ""

    def text(self) -> str:
        """The whole body, or what is left of it; of one that is no message, its start."""
        content = bytearray()
        for chunk in self.chunks:
            content += chunk
            if len(content) > MAX_TEXT_BYTES:
                break
        return content.decode(errors="replace")


class Transport(Protocol):
    """The connections to one server; several threads may ask at a time."""

    def open(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeouts: Timeouts
    ) -> contextlib.AbstractContextManager[Response]:
        """Ask; `body` is sent as JSON. Leaving the block before the answer's end hangs up."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


def timeouts_of(connect_seconds: float, seconds: float) -> Timeouts:
    """The timeouts of a request that may take so long to go on."""
    others = dict.fromkeys(("read", "write", "pool"), seconds)
    return {"connect": min(seconds, connect_seconds), **others}


class Direct:
    """To a server of this machine, in plain http: no proxy, no certificate, no redirect.

    It stands on httpcore alone, what httpx stands on: a push that has nothing to do is a tenth
    quicker without the import of the rest.

    Args:
        base: such as `http://127.0.0.1:11434`.
    """

    def __init__(self, base: str, headers: Mapping[str, str]) -> None:
        self._base = base
        self._headers = {
            "Host": urlsplit(base).netloc,
            "Accept": "application/json",
            "User-Agent": f"deployq/{__version__}",
            **headers,
        }
        self._pool = httpcore.ConnectionPool(
            max_connections=MOST_CONNECTIONS, keepalive_expiry=IDLE_SECONDS
        )

    @contextlib.contextmanager
    def open(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeouts: Timeouts
    ) -> Iterator[Response]:
        about = {"Content-Type": "application/json"} if body is not None else {}
        with self._pool.stream(
            method,
            self._base + path,
            headers=list((self._headers | about).items()),
            content=json.dumps(body).encode() if body is not None else None,
            extensions={"timeout": dict(timeouts)},
        ) as response:
            headers = {name.lower(): value for name, value in response.headers}
            date = headers.get(b"date", b"").decode("ascii", "replace")
            yield Response(response.status, response.iter_stream(), date)

    def close(self) -> None:
        self._pool.close()
