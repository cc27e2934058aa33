"""Two who write to one server: two projects, HOMEs, spellings of its address, or machines."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from deployq.tags.holders import Holder, this_process
from deployq.tags.lockfile import Lockfile
from deployq.tags.markers import EXPIRES_SECONDS, Marker, new_id, raise_marker
from deployq.tags.server import Server
from tests.cli.conftest import PASSING, Project
from tests.cli.mortal_servers import MortalEmbedded, MortalOllama, MortalServer
from tests.cli.test_kills import BOTH, PUSH, TAGS, configure
from tests.tiny import write_tiny_llama

ELSEWHERE = Holder("anna@den", "another machine", 1, "")
SECONDS = 60
NOW = ("--older-than", "0s", "-y", "--json")


@dataclass
class Place:
    """A server, and projects that push the same model to it."""

    server: MortalServer
    url: str
    folder: Path

    def project(self, name: str, system: str, url: str = "") -> Project:
        """A folder and a HOME of its own; its model has another system prompt."""
        made = Project(self.folder / name)
        made.folder.mkdir(exist_ok=True)
        write_tiny_llama(made.model)
        made.write("suite.toml", PASSING)
        configure(made, url or self.url, system)
        return made

    def held(self) -> dict[str, str]:
        models = requests.get(f"{self.url}/api/tags", timeout=SECONDS).json()["models"]
        return {model["name"]: model["digest"] for model in models}

    def staged(self) -> list[str]:
        return [name for name in self.held() if "staging" in name]

    def system(self, name: str) -> str:
        shown = requests.post(f"{self.url}/api/show", json={"model": name}, timeout=SECONDS)
        return str(shown.json()["system"])

    def mark(self, holder: Holder) -> Marker:
        """Another push's marker, as that would write it."""
        marker = Marker(new_id(), "tiny", "push", "2026-11-30T21:03:00+00:00", holder)
        with Server(self.url) as server:
            raise_marker(server, marker)
        return marker

    def age(self, marker: Marker, seconds: float) -> None:
        """The marker's process was last heard of so long ago."""
        tag = f"deployq-staging/{marker.model}/{marker.name.tag}"
        (file,) = (self.server.folder / "models" / "manifests").glob(f"*/{tag}")
        then = time.time() - seconds
        before = self.modified(str(marker.name))
        os.utime(file, (then, then))
        if self.modified(str(marker.name)) == before:
            pytest.skip("named difference by version: it remembers when a manifest was written")

    def modified(self, name: str) -> str:
        listed = requests.get(f"{self.url}/api/tags", timeout=SECONDS).json()["models"]
        return str(next(tag["modified_at"] for tag in listed if tag["name"] == name))

    def copy(self, source: str, destination: str) -> None:
        body = {"source": source, "destination": destination}
        requests.post(f"{self.url}/api/copy", json=body, timeout=SECONDS).raise_for_status()


@pytest.fixture(params=BOTH)
def place(request: pytest.FixtureRequest, tmp_path: Path, tools_bin: Path) -> Iterator[Place]:
    assert tools_bin
    server: MortalServer
    if request.param == "embedded":
        server = MortalEmbedded(tmp_path / "server")
    else:
        server = MortalOllama(request.getfixturevalue("ollama_binary"), tmp_path / "server")
    yield Place(server, server.start(), tmp_path)
    server.stop()


def push(project: Project) -> Project:
    ran = project.run(*PUSH)
    assert ran.code == 0, ran.err
    return project


def localhost(url: str) -> str:
    return url.replace("127.0.0.1", "localhost")


# ---------------------------------------------------------------- two pushes at once


def test_of_two_pushes_at_once_none_is_undone(place: Place) -> None:
    """Again and again, of one model, from two HOMEs, by two spellings of the address."""
    projects = [
        place.project("one", "one"),
        place.project("two", "two", localhost(place.url)),
    ]
    for turn in range(3):
        for project, url in zip(projects, (place.url, localhost(place.url)), strict=True):
            configure(project, url, f"{project.folder.name} {turn}")
        children = [project.start(*PUSH) for project in projects]
        said = [child.communicate(timeout=240)[1] for child in children]
        assert [child.returncode for child in children] == [0, 0], said
        held = place.held()
        assert len({place.system(tag) for tag in TAGS}) == 1, "tag and alias are of one push"
        for project in projects:
            lock = Lockfile.load(project.folder / "deployq.lock")
            pushed = {entry.manifest_digest for entry in lock.entries.values()}
            assert pushed <= set(held.values()), "what one of them pushed is there, or kept"
        assert place.staged() == []


def test_the_second_one_is_told_who_is_first_and_waits(place: Place) -> None:
    marker = place.mark(ELSEWHERE)
    project = place.project("one", "one")
    child = project.start(*PUSH)
    assert child.stderr is not None
    line = next(line for line in child.stderr if "waiting" in line)
    assert re.search(
        r"push by anna@den since 2026-11-30 21:03 UTC changes the tags of tiny on \S+; it counts "
        r"as dead after 120 s without a sign of life\. Ctrl-C",
        line,
    ), line
    time.sleep(3)
    assert (child.poll(), set(place.held())) == (None, {str(marker.name)})
    requests.delete(f"{place.url}/api/delete", json={"model": str(marker.name)}, timeout=SECONDS)
    _, said = child.communicate(timeout=240)
    assert child.returncode == 0, said
    assert set(place.held()) == set(TAGS)


def two_hosts(project: Project, place: Place) -> None:
    """Two targets on one server, by two spellings of its address."""
    config = (project.folder / "deployq.toml").read_text()
    box = f'[targets.box]\nhost = "{localhost(place.url)}"'
    project.write("deployq.toml", config.replace("[targets.box]", box))


def test_one_push_by_two_spellings_of_a_server(place: Place) -> None:
    project = place.project("one", "one")
    two_hosts(project, place)
    ran = project.run("push", "tiny", "--targets", "laptop,box")
    assert ran.code == 0, ran.err
    assert set(place.held()) == {*TAGS, "tiny:box"}


def test_ctrl_c_ends_the_waiting(place: Place) -> None:
    marker = place.mark(ELSEWHERE)
    project = place.project("one", "one")
    two_hosts(project, place)
    child = project.start("push", "tiny", "--targets", "laptop,box")
    assert child.stderr is not None
    assert next(line for line in child.stderr if "waiting" in line)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert (child.returncode, "Traceback" in said) == (130, False), said
    assert set(place.held()) == {str(marker.name)}


@pytest.mark.parametrize("silent", [EXPIRES_SECONDS + 30, EXPIRES_SECONDS - 60])
def test_a_push_of_another_machine_is_dead_after_a_while(place: Place, silent: float) -> None:
    marker = place.mark(ELSEWHERE)
    place.age(marker, silent)
    project = place.project("one", "one")
    child = project.start(*PUSH)
    if silent < EXPIRES_SECONDS:
        time.sleep(5)
        assert child.poll() is None, "it may live"
        place.age(marker, EXPIRES_SECONDS + 30)
    _, said = child.communicate(timeout=240)
    assert child.returncode == 0, said
    assert set(place.held()) == set(TAGS)


def test_a_push_that_ended_on_this_machine_is_dead_at_once(place: Place) -> None:
    project = place.project("one", "one")
    ended = project.start("--version")
    ended.communicate(timeout=60)
    place.mark(Holder("me@here", this_process().machine, ended.pid, "1"))
    ran = project.run(*PUSH)
    assert (ran.code, "waiting" in ran.err) == (0, False), ran.err
    assert place.staged() == []


def test_a_second_push_with_nothing_to_do_writes_nothing(place: Place) -> None:
    """Nor does it wait for another one."""
    project = push(place.project("one", "one"))
    manifests = place.server.folder / "models"
    before = {path: path.stat().st_mtime_ns for path in manifests.rglob("*") if path.is_file()}
    marker = place.mark(ELSEWHERE)
    ran = project.run(*PUSH)
    assert (ran.code, "nothing to do" in ran.out) == (0, True), ran.err
    requests.delete(f"{place.url}/api/delete", json={"model": str(marker.name)}, timeout=SECONDS)
    after = {path: path.stat().st_mtime_ns for path in manifests.rglob("*") if path.is_file()}
    assert {path: after.get(path) for path in before} == before


# ---------------------------------------------------------------- prune


def test_prune_from_another_home_takes_nothing_from_a_push(place: Place) -> None:
    push(place.project("one", "one"))
    other = place.project("two", "two", localhost(place.url))
    marker = place.mark(ELSEWHERE)
    staged = f"deployq-staging/tiny:q8_0.{marker.id}"
    place.copy(TAGS[0], staged)
    where = ("prune", "--host", localhost(place.url))
    found = other.run(*where, *NOW).json
    assert found["items"] == []
    assert any("push by anna@den" in note for note in found["notes"])
    place.age(marker, EXPIRES_SECONDS + 30)
    found = other.run(*where, "-y", "--json").json
    assert [item["name"] for item in found["items"]] == [], "what was staged is young"
    assert any(f"{staged} is left alone: it is young" in note for note in found["notes"])
    found = other.run(*where, *NOW).json
    assert sorted(item["name"] for item in found["items"]) == [str(marker.name), staged]
    assert all(item["removed"] for item in found["items"])
    assert place.staged() == []


def test_generations_are_pruned_by_whose_they_are(place: Place) -> None:
    one, two = place.project("one", "one"), place.project("two", "two", localhost(place.url))
    contents = {}
    for turn in range(2):
        for project, url in ((one, place.url), (two, localhost(place.url))):
            configure(project, url, f"{project.folder.name} {turn}")
            push(project)
            contents[f"{project.folder.name} {turn}"] = place.held()[TAGS[0]]
    of_tag = "deployq-history/tiny:q8_0."
    kept = {digest: name for name, digest in place.held().items() if name.startswith(of_tag)}
    where = ("prune", "--keep", "0", "--host", place.url)
    found = one.run(*where, *NOW).json
    gone = {item["name"] for item in found["items"] if item["name"].startswith(of_tag)}
    assert gone == {kept[contents["one 0"]], kept[contents["one 1"]]}
    assert any(kept[contents["two 0"]] in note for note in found["notes"])
    assert contents["two 0"] in place.held().values(), "it is another project's"
    found = one.run(*where, *NOW, "--all-projects", "--dry-run").json
    (item,) = [item for item in found["items"] if item["name"].startswith(of_tag)]
    assert item["name"] == kept[contents["two 0"]]
    assert "of the project two (" in item["why"]
    found = one.run(*where, *NOW, "--all-projects").json
    assert all(item["removed"] for item in found["items"])
    assert set(place.held()) == set(TAGS), "the note of whose they are goes with the last"


def test_a_push_lets_go_of_its_own_generations_alone(place: Place) -> None:
    one, two = place.project("one", "one"), place.project("two", "two")
    kept_by = "\n[tags]\nkeep = 1\n"
    push(two)
    first = place.held()[TAGS[0]]
    for turn in range(3):
        configure(one, place.url, f"one {turn}")
        one.write("deployq.toml", (one.folder / "deployq.toml").read_text() + kept_by)
        push(one)
    held = place.held()
    assert first in held.values(), "the other project's"
    assert sum(name.startswith("deployq-history/tiny:q8_0.") for name in held) == 2


def test_a_clone_of_a_project_owns_what_its_lockfile_knows(place: Place) -> None:
    one = push(place.project("one", "one"))
    configure(one, place.url, "one again")
    push(one)
    clone = place.project("clone", "one again")
    shutil.copy(one.folder / "deployq.lock", clone.folder)
    found = clone.run("prune", "--keep", "0", "--host", place.url, *NOW).json
    assert len(found["items"]) == 2
    assert all(item["removed"] for item in found["items"])
