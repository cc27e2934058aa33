"""Servers that can't or won't: each is named, with what mends it, and the old tags stay."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.cli.conftest import CONFIG, Project, Ran
from tests.cli.fatal_proxy import FatalProxy
from tests.cli.mortal_servers import MortalEmbedded, MortalOllama, MortalServer
from tests.small_disks import mounted
from tests.tiny import write_tiny_llama

BOTH = (
    pytest.param("embedded", marks=pytest.mark.tools),
    pytest.param("ollama", marks=[pytest.mark.tools, pytest.mark.ollama]),
)
PUSH = ("push", "tiny", "--targets", "laptop")
TAGS = ["tiny:laptop", "tiny:q8_0"]


@dataclass
class Place:
    """A project that pushed once to a server behind a proxy, and now has something else to push.

    The server's store is on a file system of its own, of 64 MiB.
    """

    project: Project
    proxy: FatalProxy
    disk: Path

    def held(self) -> dict[str, str]:
        models = requests.get(f"{self.proxy.server}/api/tags", timeout=60).json()["models"]
        return {model["name"]: model["digest"] for model in models}

    def fill(self) -> None:
        """No byte and no file more goes onto the server's disk."""
        with (self.disk / "fill").open("wb") as file:
            while True:
                try:
                    os.write(file.fileno(), bytes(4096))
                except OSError:
                    break

    def remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.disk)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "64m") as folder:
        yield folder


@pytest.fixture(params=BOTH)
def place(
    request: pytest.FixtureRequest, project: Project, tools_bin: Path, disk: Path, tmp_path: Path
) -> Iterator[Place]:
    assert tools_bin
    (disk / "models").mkdir()
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "models").symlink_to(disk / "models")
    if request.param == "embedded":
        server: MortalServer = MortalEmbedded(tmp_path / "server")
    else:
        binary = request.getfixturevalue("ollama_binary")
        server = MortalOllama(binary, tmp_path / "server")
    proxy = FatalProxy()
    proxy.server = server.start()
    proxy.listen()
    try:
        configure(project, proxy.url, "old")
        first = project.run(*PUSH)
        assert first.code == 0, first.err
        configure(project, proxy.url, "new")
        yield Place(project, proxy, disk)
    finally:
        proxy.hang_up()
        server.stop()


def configure(project: Project, url: str, system: str) -> None:
    text = CONFIG.replace(
        'quants = ["Q8_0", "Q4_K_M"]', f'quants = ["Q8_0"]\nsystem = "{system}"'
    ).replace("[targets.laptop]", f'[targets.laptop]\nhost = "{url}"')
    project.write("deployq.toml", text)


def failed(place: Place, code: int, *said: str) -> None:
    """A push that says so and leaves the tags as they were; what was built is not built again."""
    before = place.held()
    ran = place.project.run(*PUSH)
    complained(ran, code, *said)
    assert place.held() == before


def goes_through(place: Place) -> None:
    before = place.held()
    again = place.project.run(*PUSH)
    assert again.code == 0, again.err
    held = place.held()
    assert all(held[tag] != before[tag] for tag in TAGS)
    assert not [name for name in held if "staging" in name]


def complained(ran: Ran, code: int, *said: str) -> None:
    assert ran.code == code, ran.err
    assert "Traceback" not in ran.err
    everything = " ".join(f"{ran.out} {ran.err}".split())  # lines may be broken anywhere
    for words in said:
        assert words in everything


# ---------------------------------------------------------------- slow, and out of bounds


def test_slow(place: Place) -> None:
    config = place.project.folder / "deployq.toml"
    config.write_text(config.read_text().replace("[runtime]", "[runtime]\ntimeout = 3"))
    place.proxy.meddle = lambda request: time.sleep(6) if request == "POST /api/chat" else None
    failed(place, 4, "tiny:q8_0: verification failed: 0 of 1 passed", "did not answer within 3 s")
    config.write_text(config.read_text().replace("timeout = 3", "timeout = 60"))
    place.proxy.meddle = lambda _: None
    goes_through(place)


@pytest.mark.parametrize("status", [403, 405])
def test_nobody_may_write(place: Place, status: int) -> None:
    reads = ("GET", "HEAD", "RENDER", "POST /api/show", "POST /api/chat", "POST /api/generate")
    place.proxy.meddle = lambda request: None if request.startswith(reads) else status
    said = (f"{place.proxy.url} refused to take blob in-use.", f" of tiny: HTTP {status}")
    failed(place, 5, *said, "lets nobody write")
    place.proxy.meddle = lambda _: None
    goes_through(place)


# ---------------------------------------------------------------- the server's disk


def test_a_read_only_store(place: Place) -> None:
    place.remount("ro")
    failed(place, 5, "error: laptop: ", "read-only file system", "OLLAMA_MODELS")
    place.remount("rw")
    goes_through(place)


def at(path: str, act: Callable[[], None]) -> Callable[[str], None]:
    """Acts once, right before the server is asked this."""
    done: list[str] = []

    def meddle(request: str) -> None:
        if request == path and not done:
            done.append(request)
            act()

    return meddle


@pytest.mark.parametrize("path", ["POST /api/create", "POST /api/copy"])
def test_a_full_disk(place: Place, path: str) -> None:
    """It is full by the time that the tag is created, or that what a name held is kept."""
    write_tiny_llama(place.project.model, seed=5)
    place.proxy.meddle = at(path, place.fill)
    before = {tag: place.held()[tag] for tag in TAGS}
    ran = place.project.run(*PUSH)
    complained(ran, 5, "error: laptop: tiny:q8_0: ", "no space left on device", "deployq prune")
    assert {tag: place.held()[tag] for tag in TAGS} == before
    (place.disk / "fill").unlink()
    place.proxy.meddle = lambda _: None
    goes_through(place)


# ---------------------------------------------------------------- names


def configured(project: Project, old: str, new: str) -> Project:
    project.write("deployq.toml", CONFIG.replace(old, new))
    return project


def test_an_alias_that_ollama_reserves(project: Project) -> None:
    ran = configured(project, "[targets.box]", "[targets.cloud]").run("push", "tiny")
    complained(ran, 2, "Ollama reserves the tag 'cloud'", "choose another tag")


def test_models_that_a_server_takes_for_one(project: Project) -> None:
    table = '[models.Tiny]\nsource = "tiny-f16.gguf"\n[targets.box]'
    ran = configured(project, "[targets.box]", table).run("push", "tiny")
    complained(ran, 2, "models 'tiny' and 'Tiny' would get the same tags")


def test_two_targets_that_want_one_alias_of_a_server(project: Project) -> None:
    targets = '[targets.laptop]\nhost = "box:11434"\n'
    ran = configured(project, "[targets.laptop]\n", targets).run("plan", "tiny")
    assert ran.code == 0, ran.err
    both = f'{targets}preset = "4090"\n[targets.Laptop]\nhost = "http://box:11434/"\n'
    ran = configured(project, "[targets.laptop]\n", both).run("push", "tiny")
    complained(ran, 2, "'laptop' and 'Laptop' want one alias", "give one of them another name")


# ---------------------------------------------------------------- the lockfile


@pytest.mark.tools
@pytest.mark.parametrize(
    ("text", "said", "mend"),
    [
        ("schema = 99\n", "deployq.lock has schema 99", "pip install -U deployq"),
        ("<<<<<<< HEAD\nschema = 1\n=======\n", "merge-conflict marks", "deployq lock merge"),
    ],
)
@pytest.mark.parametrize("command", [PUSH, ("status",), ("remove", "tiny:q8_0", "-y")], ids=str)
def test_a_lockfile_that_is_no_good_stays_as_it_is(
    project: Project, tools_bin: Path, text: str, said: str, mend: str, command: tuple[str, ...]
) -> None:
    assert tools_bin
    lockfile = project.write("deployq.lock", text)
    complained(project.run(*command), 1, said, mend)
    assert lockfile.read_text() == text
    assert not list((project.folder / "cache").rglob("*.gguf")), "nothing was built first"
