"""Pages in a real browser: what it makes of them, what it asks for, and how they look."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class Browser:
    """Chromium without a window; every call is a process of its own with a fresh profile."""

    program: str
    folder: Path

    def run(self, page: str, *options: str) -> str:
        """What it prints; `page` is a URL."""
        base = (
            "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            f"--user-data-dir={self.folder / 'profile'}", "--virtual-time-budget=3000",
        )  # fmt: skip
        done = subprocess.run(
            [self.program, *base, *options, page], capture_output=True, timeout=120, check=True
        )
        return done.stdout.decode("utf-8", errors="replace")

    def dom(self, page: str) -> str:
        return self.run(page, "--dump-dom")

    def picture(self, page: str, width: int, height: int, *options: str) -> Path:
        file = self.folder / "picture.png"
        self.run(page, f"--screenshot={file}", f"--window-size={width},{height}", *options)
        return file

    def pdf(self, page: str) -> Path:
        file = self.folder / "page.pdf"
        self.run(page, f"--print-to-pdf={file}", "--no-pdf-header-footer")
        return file


def chromium(folder: Path) -> Browser:
    """The browser; a test that asks for it is skipped where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here (Debian: apt install chromium)")
    return Browser(found, folder)


@dataclass
class Watched:
    """A server that gives one page and writes down what else it is asked for."""

    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def watched(page: str) -> Iterator[Watched]:
    """Serve a page; `PORT` in it becomes the server's own port, so that it could reach it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port = server.server_address[1]
    body = page.replace("PORT", str(port)).encode("utf-8")
    seen = Watched(f"http://127.0.0.1:{port}/page")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
