"""An HTTP server in a thread, for as long as a block."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def serving(
    handler: type[BaseHTTPRequestHandler],
    kind: type[ThreadingHTTPServer] = ThreadingHTTPServer,
    port: int = 0,
) -> Iterator[ThreadingHTTPServer]:
    """A server on this machine, at any free port, whose requests `handler` answers."""
    http = kind(("127.0.0.1", port), handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield http
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def url_of(http: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{http.server_address[1]}"
