"""A terminal (a real pty) to show something on, and what was shown."""

from __future__ import annotations

import os
import pty
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from deployq.report.console import plain_console


@contextmanager
def terminal(environ: dict[str, str] | None = None) -> Iterator[tuple[Console, Callable[[], str]]]:
    """A console on a pseudo-terminal, and what was written to it, read to its end."""
    master, slave = pty.openpty()
    seen: list[bytes] = []

    def read() -> None:
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:  # Linux ends a pty's output with EIO
                return
            if not chunk:
                return
            seen.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    file = os.fdopen(slave, "w")

    def text() -> str:
        file.close()
        reader.join(10)
        return b"".join(seen).decode()

    environ = {"TERM": "xterm-256color", "COLUMNS": "100", **(environ or {})}
    try:
        yield plain_console(file=file, _environ=environ), text
    finally:
        if not file.closed:
            text()
        os.close(master)
