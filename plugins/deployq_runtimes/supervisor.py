"""The process behind a private server: `python -m deployq_runtimes.supervisor RUNTIME FOLDER PORT`.

It takes `serve.lock`, goes to the background, runs the server, and ends it and itself when no
command holds `users.lock` any more (deployq_runtimes.sharing).
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from deployq import proc
from deployq_runtimes.locks import try_lock
from deployq_runtimes.orphans import end_orphans, forget, remember
from deployq_runtimes.probe import version_at
from deployq_runtimes.sharing import Address

IDLE_SECONDS = 1.0
_POLL_SECONDS = 0.2
_ANSWER_SECONDS = 60.0


def main(argv: list[str] | None = None) -> int:
    """Become the folder's server; 0 also when another supervisor is there already."""
    options = _options(argv)
    alive = try_lock(options.folder / "serve.lock")
    if alive is None:
        return 0
    if os.fork():
        return 0
    _to_background(options.folder / "serve.log")
    end_orphans(options.folder)
    try:
        _SERVERS[options.runtime](options)
    finally:
        (options.folder / "runtime.json").unlink(missing_ok=True)
    return 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("runtime", choices=sorted(_SERVERS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--llama-server", type=Path)
    parser.add_argument("--binary", type=Path)
    return parser.parse_args(argv)


def _to_background(log: Path) -> None:
    """A session of its own, so that Ctrl-C in a terminal does not reach it; output to the log."""
    os.setsid()
    with log.open("wb") as file, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)


class Watch:
    """Calls `on_idle` once nobody has held the users' lock for a second, and keeps it then.

    Whoever comes later waits for the lock, until this process has ended, and starts a new one.
    """

    def __init__(self, folder: Path, on_idle: Callable[[], None]) -> None:
        self.path = folder / "users.lock"
        self.on_idle = on_idle
        self.ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        idle_since: float | None = None
        while not self.ended.wait(_POLL_SECONDS):
            try:
                lock = try_lock(self.path)
            except OSError:  # the folder is gone, and with it everybody who could use it
                self.on_idle()
                return
            if lock is None:
                idle_since = None
            elif time.monotonic() - (idle_since := idle_since or time.monotonic()) >= IDLE_SECONDS:
                self.on_idle()
                self.ended.wait()
                return
            else:
                lock.close()


def _embedded(options: argparse.Namespace) -> None:
    from deployq_runtimes.server.serve import EmbeddedServer  # noqa: PLC0415  (the extra)

    listener = _listen(options.port)
    server = EmbeddedServer(options.folder, options.llama_server)
    port = listener.getsockname()[1]
    address = Address(f"http://127.0.0.1:{port}", port, os.getpid())
    Watch(options.folder, server.stop)
    server.run(listener, on_ready=lambda: address.write(options.folder))


def _managed(options: argparse.Namespace) -> None:
    listener = _listen(options.port)
    port = listener.getsockname()[1]
    listener.close()
    child = proc.start(
        [str(options.binary), "serve"],
        env=managed_environment(options.folder, port),
        stdout=sys.stderr.fileno(),
    )
    remember(options.folder, child.pid)
    idle = threading.Event()
    Watch(options.folder, idle.set)
    signal.signal(signal.SIGTERM, lambda *_: idle.set())
    try:
        _announce(child, port, options.folder)
        while child.poll() is None and not idle.wait(_POLL_SECONDS):
            pass
    finally:
        proc.stop(child)
        forget(options.folder, child.pid)


def _announce(child: proc.Child, port: int, folder: Path) -> None:
    """Write the address once the server answers; not at all if it ends before."""
    address = Address(f"http://127.0.0.1:{port}", port, os.getpid())
    deadline = time.monotonic() + _ANSWER_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        if version_at(address.url, timeout_seconds=1.0):
            address.write(folder)
            return
        time.sleep(0.02)


def managed_environment(folder: Path, port: int) -> dict[str, str]:
    """What makes an `ollama serve` keep to the folder: models, home, address; no cloud."""
    (folder / "home").mkdir(exist_ok=True)
    return {
        "HOME": str(folder / "home"),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": str(folder / "models"),
        "OLLAMA_NO_CLOUD": "1",
    }


def _listen(port: int) -> socket.socket:
    # The protocol is named, or asyncio leaves Nagle's algorithm on: 40 ms an answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


_SERVERS = {"embedded": _embedded, "managed": _managed}

if __name__ == "__main__":
    sys.exit(main())
