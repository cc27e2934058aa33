"""Several servers at once: each its own outcome, and one that fails stops nothing on the others."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from deployq import Endpoint
from tests.cli.conftest import CONFIG, Project
from tests.fronts import Front, front_of
from tests.ollama_fixtures import free_port, running_ollama

pytestmark = pytest.mark.tools

MODEL = CONFIG.partition("[targets")[0].replace('["Q8_0", "Q4_K_M"]', '["Q8_0"]')
TARGETS = ("one", "two", "three")


def configured(project: Project, *urls: str, system: str = "one") -> None:
    targets = "".join(
        f'[targets.{name}]\nmemory = "16GB"\nkind = "ram"\ncontext = 256\nhost = "{url}"\n'
        for name, url in zip(TARGETS, urls, strict=False)
    )
    model = MODEL.replace("parameters =", f'system = "{system}"\nparameters =')
    project.write("deployq.toml", f"{model}{targets}")


def system_of(url: str, tag: str) -> str | None:
    answer = requests.post(f"{url}/api/show", json={"model": tag}, timeout=30)
    return str(answer.json().get("system")) if answer.ok else None


def names(url: str) -> list[str]:
    return sorted(m["name"] for m in requests.get(f"{url}/api/tags", timeout=30).json()["models"])


def report_of(project: Project) -> dict[str, Any]:
    run = max((project.folder / ".deployq" / "runs").iterdir())
    found = json.loads((run / "report.json").read_text())
    return {target["name"]: target for target in found["targets"]}


def kill_server(url: str) -> None:
    """SIGKILL whoever listens there, and what it had started."""
    port = int(url.rpartition(":")[2])
    found = psutil.net_connections("tcp")
    (pid,) = {c.pid for c in found if c.status == "LISTEN" and c.laddr and c.laddr.port == port}
    process = psutil.Process(pid)
    for victim in (*process.children(recursive=True), process):
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Project]:
    """Three folders, each of a server of its own."""
    found = [Project(tmp_path_factory.mktemp(name)) for name in TARGETS]
    for other in found:
        other.write("deployq.toml", CONFIG)
    return found


@pytest.fixture
def fronts(folders: list[Project], tools_bin: Path) -> Iterator[list[Front]]:
    """Three embedded runtimes in folders of their own, each behind a front whose address stays."""
    assert tools_bin
    with contextlib.ExitStack() as stack:
        urls = [stack.enter_context(folder.serving()) for folder in folders]
        found = [stack.enter_context(front_of(url)) for url in urls]
        yield found
        for front in found:
            with contextlib.suppress(requests.ConnectionError):
                for name in names(front.server):
                    requests.delete(f"{front.server}/api/delete", json={"model": name}, timeout=30)


def test_one_is_down(project: Project, fronts: list[Front]) -> None:
    down = f"http://127.0.0.1:{free_port()}"
    configured(project, down, fronts[1].url, fronts[2].url)
    ran = project.run("push", "tiny")
    assert ran.code == 5, ran.err
    assert f"one: no Ollama server answers at {down}" in ran.err
    assert "ollama serve" in ran.err
    report = report_of(project)
    assert [report[name]["status"] for name in TARGETS] == ["failed", "done", "done"]
    assert report["one"]["hint"]
    for front, name in zip(fronts[1:], TARGETS[1:], strict=True):
        assert names(front.server) == sorted([f"tiny:{name}", "tiny:q8_0"])
        short = front.url.partition("://")[2]
        assert f"upload tiny:q8_0 on {short}" in ran.err
        assert f"verify tiny:{name} on {short}" in ran.err
    configured(project, *(front.url for front in fronts))
    again = project.run("push", "tiny", "--json")
    assert again.code == 0, again.err
    assert [t["status"] for t in again.json["targets"]] == ["done", "unchanged", "unchanged"]
    assert project.run("verify", "--locked").code == 0


def test_one_dies_in_the_middle(
    project: Project, fronts: list[Front], folders: list[Project]
) -> None:
    configured(project, *(front.url for front in fronts))
    first = project.run("push", "tiny")
    assert first.code == 0, first.err
    configured(project, *(front.url for front in fronts), system="two")
    dying = fronts[1]

    def die(method: str, path: str) -> None:  # noqa: ARG001
        if path == "/api/chat":
            dying.before = lambda _method, _path: None
            kill_server(dying.server)

    dying.before = die
    ran = project.run("push", "tiny")
    assert ran.code == 5, ran.err
    assert "two: tiny:q8_0: " in ran.err
    assert dying.url in ran.err
    report = report_of(project)
    assert [report[name]["status"] for name in TARGETS] == ["done", "failed", "done"]
    for front, name in ((fronts[0], "one"), (fronts[2], "three")):
        assert system_of(front.server, f"tiny:{name}") == "two"
    with folders[1].serving() as url:
        dying.server = url
        assert system_of(url, "tiny:two") == "one", "it has what it had"
        again = project.run("push", "tiny", "--json")
        assert again.code == 0, again.err
        assert [t["status"] for t in again.json["targets"]] == ["unchanged", "done", "unchanged"]
        assert system_of(url, "tiny:two") == "two"
        assert not [name for name in names(url) if "staging" in name]
        assert project.run("verify", "--locked").code == 0


@pytest.mark.parametrize("path", ["/api/blobs/", "/api/chat"])
def test_interrupted(project: Project, fronts: list[Front], path: str) -> None:
    configured(project, *(front.url for front in fronts), system="old")
    first = project.run("push", "tiny")
    assert first.code == 0, first.err
    configured(project, *(front.url for front in fronts), system="new")
    if path == "/api/blobs/":
        for front in fronts:
            for name in names(front.server):
                requests.delete(f"{front.server}/api/delete", json={"model": name}, timeout=30)
    reached, release = threading.Event(), threading.Event()

    def hold(method: str, asked: str) -> None:
        if method == "POST" and asked.startswith(path):
            reached.set()
            release.wait(120)

    fronts[1].before = hold
    child = project.start("push", "tiny")
    try:
        assert reached.wait(120)
        start = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
        took = time.monotonic() - start
    finally:
        release.set()
        fronts[1].before = lambda _method, _path: None
    assert child.returncode == 130, err
    assert "Traceback" not in err
    assert took < 15, "a server that does not answer is not waited for"
    for front, name in zip(fronts, TARGETS, strict=True):
        assert system_of(front.server, f"tiny:{name}") in ("old", "new", None)
    again = project.run("push", "tiny")
    assert again.code == 0, again.err
    for front, name in zip(fronts, TARGETS, strict=True):
        assert system_of(front.server, f"tiny:{name}") == "new"
        assert not [held for held in names(front.server) if "staging" in held]
    assert project.run("verify", "--locked").code == 0


# ---------------------------------------------------------------- real ones


@pytest.fixture
def other_binary(ollama_binary: Path) -> Path:
    """An Ollama of another version, where one stands beside the first: X/VERSION/bin/ollama."""
    versions = ollama_binary.parent.parent
    found = sorted(versions.parent.glob("*/bin/ollama"))
    others = [binary for binary in found if binary != ollama_binary]
    if not others:
        pytest.skip(f"no second Ollama beside {versions}: make test-ollama VERSION=0.32.15")
    return others[0]


def pushed_to(project: Project, *servers: Endpoint) -> None:
    configured(project, *(server.url for server in servers))
    ran = project.run("push", "tiny", "--json")
    assert ran.code == 0, ran.err
    assert [t["status"] for t in ran.json["targets"]] == ["done"] * len(servers)
    for server, name in zip(servers, TARGETS, strict=False):
        assert names(server.url) == sorted([f"tiny:{name}", "tiny:q8_0"])
    assert project.run("verify", "--locked").code == 0
    again = project.run("push", "tiny", "--json")
    assert [t["status"] for t in again.json["targets"]] == ["unchanged"] * len(servers)


@pytest.mark.ollama
def test_two_ollamas_and_one_that_dies(
    project: Project, tools_bin: Path, ollama_binary: Path, tmp_path: Path
) -> None:
    assert tools_bin
    with (
        running_ollama(ollama_binary, tmp_path / "first") as first,
        running_ollama(ollama_binary, tmp_path / "second") as second,
        front_of(second.url) as front,
    ):
        configured(project, first.url, front.url)

        def die(method: str, path: str) -> None:  # noqa: ARG001
            if path == "/api/chat":
                front.before = lambda _method, _path: None
                kill_server(second.url)

        front.before = die
        ran = project.run("push", "tiny")
        assert ran.code == 5, ran.err
        assert [report_of(project)[n]["status"] for n in TARGETS[:2]] == ["done", "failed"]
        assert names(first.url) == ["tiny:one", "tiny:q8_0"]
        with running_ollama(ollama_binary, tmp_path / "again", second.models_dir) as revived:
            front.server = revived.url
            again = project.run("push", "tiny", "--json")
            assert again.code == 0, again.err
            assert [t["status"] for t in again.json["targets"]] == ["unchanged", "done"]
            assert names(revived.url) == ["tiny:q8_0", "tiny:two"]


@pytest.mark.ollama
def test_two_versions(
    project: Project, tools_bin: Path, ollama_binary: Path, other_binary: Path, tmp_path: Path
) -> None:
    assert tools_bin
    with (
        running_ollama(ollama_binary, tmp_path / "first") as first,
        running_ollama(other_binary, tmp_path / "second") as second,
    ):
        assert first.version != second.version
        pushed_to(project, first, second)


@pytest.mark.usefixtures("tools_bin")
def test_another_spelling_of_an_address_is_the_same_server(project: Project) -> None:
    """Its lock entries, too: nothing is pushed again, and status asks as the user spells it."""
    with project.serving() as url:
        configured(project, url.replace("127.0.0.1", "localhost") + "/")
        done = project.run("push", "tiny", "--targets", "one", "--yes")
        assert done.code == 0, done.err
        lock = project.folder / "deployq.lock"
        text = lock.read_text()
        assert f'."{url}".' in text
        lock.write_text(text.replace(url, url.replace("127.0.0.1", "localhost")))  # as 0.1.0 had it
        configured(project, url)
        again = project.run("push", "tiny", "--targets", "one", "--yes", "--json")
        assert [t["status"] for t in again.json["targets"]] == ["unchanged"]
        status = project.run("status", "--json").json["tags"]
        assert {(t["host"], t["state"]) for t in status} == {(url, "ok")}
