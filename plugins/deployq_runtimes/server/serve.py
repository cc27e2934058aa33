"""The embedded server as a process part: a socket in, an address out, an orderly end."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from deployq_runtimes.server.api import build

_LAST_REQUESTS_SECONDS = 2


class EmbeddedServer:
    """Serves `<folder>/models` until `stop` is called (from any thread) or a signal comes."""

    def __init__(self, folder: Path, tool: Path) -> None:
        self.server = _Announcing(
            uvicorn.Config(
                build(folder, tool),
                http="h11",
                ws="none",
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=_LAST_REQUESTS_SECONDS,
            )
        )

    def run(self, listener: socket.socket, on_ready: Callable[[], None]) -> None:
        """Serve on the bound socket; `on_ready` is called once it answers."""
        self.server.on_ready = on_ready
        self.server.run(sockets=[listener])

    def stop(self) -> None:
        self.server.should_exit = True


class _Announcing(uvicorn.Server):
    """Tells when it listens."""

    on_ready: Callable[[], None] = staticmethod(lambda: None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.on_ready()
