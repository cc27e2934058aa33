"""deployq killed at each step of a push: the earlier tags stay, and the next push goes through.

A proxy stands between deployq and the real Ollama; it kills deployq when the n-th request of a
kind comes by, before or after the server has carried it out.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import Popen

import pytest
import requests

from deployq import Endpoint
from tests.cli.conftest import CONFIG, Project
from tests.http_servers import serving, url_of

pytestmark = [pytest.mark.tools, pytest.mark.ollama]

TAGS = ("tiny:q8_0", "tiny:laptop")
HOP = {"transfer-encoding", "connection", "content-length", "date", "server"}
# path, which of them, whether the server has done it
STEPS = [
    ("/api/blobs/", 1, False),
    ("/api/create", 1, False),
    ("/api/create", 1, True),
    ("/api/chat", 1, False),
    ("/api/create", 2, True),
    ("/api/copy", 1, False),
    ("/api/copy", 1, True),
    ("/api/copy", 2, True),
    ("/api/copy", 3, False),
    ("/api/copy", 3, True),
    ("/api/copy", 4, True),
    ("/api/delete", 1, False),
    ("/api/delete", 1, True),
]


@dataclass
class Proxy:
    """Hands requests on to a server; kills `victim` at the one that `fatal` says."""

    server: str
    url: str = ""
    victim: Popen[str] | None = None
    fatal: tuple[str, int, bool] | None = None
    seen: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)

    def is_fatal(self, path: str, *, done: bool) -> bool:
        if self.fatal is None or not path.startswith(self.fatal[0]):
            return False
        with self.guard:
            self.seen += not done
        return self.seen == self.fatal[1] and self.fatal[2] == done

    def kill(self) -> None:
        if self.victim is not None:
            self.victim.kill()


@contextmanager
def proxy_to(server: str) -> Iterator[Proxy]:
    proxy = Proxy(server)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def log_message(self, *_: object) -> None:
            pass

        def _hand_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if proxy.is_fatal(self.path, done=False):
                proxy.kill()
                self.close_connection = True
                return
            answer = requests.request(
                self.command, proxy.server + self.path, data=body, timeout=120
            )
            if proxy.is_fatal(self.path, done=True):
                proxy.kill()
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.content)

        do_GET = do_POST = do_HEAD = do_DELETE = _hand_on  # noqa: N815

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A killed client hangs up: that is what this is for."""

    with serving(Handler, Quiet) as http:
        proxy.url = url_of(http)
        yield proxy


def configured(project: Project, url: str, system: str) -> None:
    text = CONFIG.replace(
        'quants = ["Q8_0", "Q4_K_M"]', f'quants = ["Q8_0"]\nsystem = "{system}"'
    ).replace("[targets.laptop]", f'[targets.laptop]\nhost = "{url}"')
    project.write("deployq.toml", text)


def systems(url: str) -> list[str]:
    def system(tag: str) -> str:
        answer = requests.post(f"{url}/api/show", json={"model": tag}, timeout=30)
        return str(answer.json().get("system", ""))

    return [system(tag) for tag in TAGS]


def names(url: str) -> list[str]:
    return sorted(m["name"] for m in requests.get(f"{url}/api/tags", timeout=30).json()["models"])


@pytest.fixture
def proxy(real_ollama: Endpoint) -> Iterator[Proxy]:
    with proxy_to(real_ollama.url) as found:
        yield found
    for name in names(real_ollama.url):
        requests.delete(f"{real_ollama.url}/api/delete", json={"model": name}, timeout=30)


@pytest.mark.parametrize(("path", "number", "done"), STEPS)
def test_deployq_killed(
    project: Project, tools_bin: Path, proxy: Proxy, path: str, number: int, done: bool
) -> None:
    assert tools_bin
    push = ("push", "tiny", "--targets", "laptop")
    configured(project, proxy.url, "old")
    first = project.run(*push)
    assert first.code == 0, first.err
    configured(project, proxy.url, "new")
    proxy.seen, proxy.fatal = 0, (path, number, done)
    child = proxy.victim = project.start(*push)
    child.communicate(timeout=240)
    assert child.returncode == -9, "it was to be killed on the way"
    proxy.fatal = proxy.victim = None
    left = systems(proxy.server)
    assert set(left) <= {"old", "new"}, "no name is without its tag"
    if path != "/api/copy" and path != "/api/delete":
        assert left == ["old", "old"]
    repaired = project.run("list", "--host", proxy.url)
    assert repaired.code == 0, repaired.err
    assert systems(proxy.server) == (["new", "new"] if path == "/api/delete" else ["old", "old"])
    again = project.run(*push)
    assert again.code == 0, again.err
    assert systems(proxy.server) == ["new", "new"]
    assert not [name for name in names(proxy.server) if "staging" in name]
    assert project.run("verify", "--locked").code == 0
