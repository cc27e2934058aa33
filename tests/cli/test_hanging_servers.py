"""Servers that hang: each is given a short time, is said to be waited for, and holds up no other.

One takes connections and never answers; one drips, a byte at a time, for ever; one is a black hole:
nobody refuses a connection to it, and nobody takes it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.cli.conftest import CONFIG, Project, Ran
from tests.fronts import Front, front_of

KINDS = ("silent", "dripping", "dripping headers", "black hole")
LIMIT_SECONDS = 10
# On a busy machine Python itself takes long to start; a minute was what one of them used to cost.
SOON_SECONDS = 40


@contextlib.contextmanager
def hanging(kind: str) -> Iterator[str]:
    """The address of such a server."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0 if kind == "black hole" else 64)
        address = listener.getsockname()
        if kind == "black hole":  # its backlog is full: Linux drops what else wants in
            for _ in range(4):
                filling = stack.enter_context(socket.socket())
                filling.setblocking(False)
                filling.connect_ex(address)
        if kind.startswith("dripping"):
            stop = threading.Event()
            thread = threading.Thread(target=drip, args=(listener, kind, stop))
            thread.start()
            stack.callback(thread.join)
            stack.callback(stop.set)
        yield f"http://127.0.0.1:{address[1]}"


def drip(listener: socket.socket, kind: str, stop: threading.Event) -> None:
    """Answer everybody, a byte each quarter of a second."""
    listener.settimeout(0.25)
    taken: list[socket.socket] = []
    start = b"HTTP/1.1 200 OK\r\n"
    if kind == "dripping":
        start += b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            connection, _ = listener.accept()
            connection.sendall(start)
            taken.append(connection)
        for connection in taken:
            with contextlib.suppress(OSError):
                connection.sendall(b"x")
    for connection in taken:
        connection.close()


def said_so(ran: Ran, kind: str, url: str) -> None:
    assert ran.code == 5, ran.err
    assert "Traceback" not in ran.err
    if kind == "black hole":
        assert f"no Ollama server answers at {url}" in ran.err
        assert "no connection within 5 s" in ran.err
    else:
        assert f"{url}, asked to tell its version, did not answer within 10 s" in ran.err
    assert f"still waiting for {url} to answer" in ran.err


def test_a_black_hole_is_one() -> None:
    with hanging("black hole") as url, pytest.raises(requests.ConnectTimeout):
        requests.get(url, timeout=(2, 2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", ["list", "show tiny:q8_0", "verify tiny:q8_0"])
def test_a_command_on_one_server(project: Project, command: str, kind: str) -> None:
    with hanging(kind) as url:
        started = time.monotonic()
        ran = project.run(*command.split(), "--host", url)
        assert time.monotonic() - started < SOON_SECONDS
        said_so(ran, kind, url)


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_server(project: Project, kind: str) -> None:
    with hanging(kind) as url:
        started = time.monotonic()
        ran = project.run("list", "--runtime", "ollama", OLLAMA_HOST=url)
        assert time.monotonic() - started < SOON_SECONDS
        assert ran.code == 5, ran.err
        assert url in ran.err
        assert "5 s" in ran.err


def test_a_plan_asks_none(project: Project) -> None:
    with hanging("silent") as url:
        config = CONFIG.replace('kind = "ram"', f'kind = "ram"\nhost = "{url}"')
        project.write("deployq.toml", config.replace('name = "embedded"', 'name = "ollama"'))
        started = time.monotonic()
        ran = project.run("plan", "tiny", OLLAMA_HOST=url)
        assert ran.code == 0, ran.err
        assert "waiting" not in ran.err
        assert time.monotonic() - started < LIMIT_SECONDS


# ---------------------------------------------------------------- several


def configured(project: Project, **hosts: str) -> None:
    model = CONFIG.partition("[targets")[0].replace('["Q8_0", "Q4_K_M"]', '["Q8_0"]')
    targets = "".join(
        f'[targets.{name}]\nmemory = "16GB"\nkind = "ram"\ncontext = 256\nhost = "{url}"\n'
        for name, url in hosts.items()
    )
    project.write("deployq.toml", model + targets)


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, tools_bin: Path) -> Iterator[str]:
    """A server that works: the embedded runtime of another folder."""
    assert tools_bin
    other = Project(tmp_path_factory.mktemp("other"))
    other.write("deployq.toml", CONFIG)
    with other.serving() as url:
        yield url


def held(url: str) -> dict[str, str]:
    """Digests by name, of the names that people use."""
    models = requests.get(f"{url}/api/tags", timeout=30).json()["models"]
    return {m["name"]: m["digest"] for m in models if not m["name"].startswith("deployq-")}


def names(url: str) -> list[str]:
    return sorted(held(url))


@pytest.mark.tools
def test_a_push_serves_the_others_meanwhile(project: Project, server: str) -> None:
    asked: dict[str, float] = {}
    with front_of(server) as good, contextlib.ExitStack() as stack:

        def note(_method: str, path: str) -> None:
            asked.setdefault(path[:10], time.monotonic())

        good.before = note
        bad = {kind.replace(" ", "-"): stack.enter_context(hanging(kind)) for kind in KINDS}
        configured(project, **bad, good=good.url)
        ran = project.run("push", "tiny", "--json")
    assert ran.code == 5, ran.err
    report = {target["name"]: target for target in ran.json["targets"]}
    assert [report[name]["status"] for name in report] == [*["failed"] * len(bad), "done"]
    assert names(server) == ["tiny:good", "tiny:q8_0"]
    for name, url in bad.items():
        assert url in report[name]["reason"]
        assert ("within 5 s" if name == "black-hole" else "within 10 s") in report[name]["reason"]
        assert f"still waiting for {url} to answer" in ran.err
    assert asked["/api/blobs"] - asked["/api/versi"] < LIMIT_SECONDS, "it waited for the others"


@pytest.mark.tools
def test_a_slow_server_is_served_after_the_others(project: Project, server: str) -> None:
    """It answers after five seconds: it is not lost, and what it needs was built by then."""
    with front_of(server) as slow, hanging("silent") as url:
        asked: list[float] = []

        def wait(method: str, path: str) -> None:  # noqa: ARG001
            if path == "/api/version" and not asked:
                asked.append(time.monotonic())
                time.sleep(5)

        slow.before = wait
        configured(project, slow=slow.url, silent=url)
        ran = project.run("push", "tiny", "--json")
    assert ran.code == 5, ran.err
    assert [target["status"] for target in ran.json["targets"]] == ["done", "failed"]
    assert names(server) == ["tiny:q8_0", "tiny:slow"]


@pytest.mark.tools
def test_status_asks_all_at_once(project: Project, server: str) -> None:
    with contextlib.ExitStack() as stack:
        fronts = {name: stack.enter_context(front_of(server)) for name in ("one", "two", "three")}
        configured(project, **{name: front.url for name, front in fronts.items()})
        pushed = project.run("push", "tiny", "--json")
        assert pushed.code == 0, pushed.err
        release = threading.Event()
        stack.callback(release.set)
        for name in ("one", "two"):
            fronts[name].before = lambda _method, _path: held_by(release)
        started = time.monotonic()
        ran = project.run("status", "--json")
        assert time.monotonic() - started < SOON_SECONDS
        assert ran.code == 1
        states = {(tag["host"], tag["state"]) for tag in ran.json["tags"]}
        assert {(fronts["one"].url, "unreachable"), (fronts["two"].url, "unreachable")} <= states
        assert (fronts["three"].url, "ok") in states
        for name in ("one", "two"):
            assert f"still waiting for {fronts[name].url} to answer" in ran.err


@pytest.mark.tools
def test_a_server_that_hangs_while_a_push_is_put_right(project: Project, server: str) -> None:
    """The journal stays, and the next command does it."""
    with front_of(server) as front:
        configured(project, one=front.url)
        assert project.run("push", "tiny").code == 0
        before = held(server)
        text = (project.folder / "deployq.toml").read_text()
        project.write("deployq.toml", text.replace("parameters =", 'system = "new"\nparameters ='))
        child = project.start("push", "tiny")
        kill_at("POST /api/copy", 4, front, child.kill)
        child.communicate(timeout=120)
        release = threading.Event()
        front.before = lambda _m, path: held_by(release) if path == "/api/tags" else None
        ran = project.run("list", "--host", front.url)
        release.set()
        front.before = lambda _m, _p: None
        assert ran.code == 5, ran.err
        assert f"{front.url}, asked to list its tags, did not answer within 60 s" in ran.err
        assert f"still waiting for {front.url} to tell what it holds" in ran.err
        again = project.run("list", "--host", front.url)
        assert again.code == 0, again.err
        assert "put back as before" in again.err
        assert held(server) == before


def held_by(release: threading.Event) -> None:
    release.wait(120)


def kill_at(asked: str, nth: int, front: Front, kill: Callable[[], None]) -> None:
    """Kill with the n-th request of a kind."""
    seen: list[str] = []

    def before(method: str, path: str) -> None:
        if f"{method} {path}" == asked:
            seen.append(path)
            if len(seen) == nth:
                kill()

    front.before = before
