"""What a server lists and can't serve: found, told, and mended by the next push.

On the embedded runtime and on a real Ollama, whose files deployq sees or does not.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.cli.conftest import CONFIG, PASSING, Project, Ran
from tests.ollama_fixtures import running_ollama

pytestmark = pytest.mark.tools

ONE = CONFIG.replace('quants = ["Q8_0", "Q4_K_M"]', 'quants = ["Q8_0"]\nsystem = "Be short."')
TAGS = ("tiny:q8_0", "tiny:box")
SECONDS = 60


@dataclass(frozen=True)
class Place:
    """A project that was pushed, and its server's store; `seen`: deployq sees that store."""

    project: Project
    store: Path
    seen: bool = True
    env: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str) -> Ran:
        return self.project.run(*arguments, **self.env)

    def push(self, *more: str) -> str:
        """The status of the target."""
        ran = self.run("push", "tiny", "--targets", "box", "--json", *more)
        assert ran.code == 0, ran.err
        return str(ran.json["targets"][0]["status"])

    def write_system(self, text: str) -> None:
        """Another system prompt: a reason to push."""
        config = (self.project.folder / "deployq.toml").read_text()
        self.project.write("deployq.toml", config.replace("Be short.", text))

    def states(self) -> dict[str, str]:
        found = self.run("status", "--json").json["tags"]
        return {tag["tag"]: tag["state"] for tag in found}

    def layer(self, kind: str, tag: str = TAGS[0]) -> Path:
        """The blob of one part of a tag."""
        manifest = self.store / "manifests/registry.ollama.ai/library" / tag.replace(":", "/")
        layers = json.loads(manifest.read_text())["layers"]
        (one,) = [layer for layer in layers if layer["mediaType"].endswith(f".{kind}")]
        return self.store / "blobs" / str(one["digest"]).replace(":", "-")

    @property
    def artifact(self) -> Path:
        folder = self.project.folder / "cache" / "artifacts"
        (path,) = folder.rglob("model.gguf")
        return path


def embedded(folder: Path) -> Project:
    project = Project(folder)
    project.write("suite.toml", PASSING)
    project.write("deployq.toml", ONE)
    return project


@pytest.fixture(scope="module")
def once(tools_bin: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Pushed to the embedded runtime; the tests work on copies of it."""
    assert tools_bin
    project = embedded(tmp_path_factory.mktemp("once"))
    shutil.copy(tiny_model, project.model)
    Place(project, project.folder / "embedded" / "models").push()
    return project


@pytest.fixture(
    params=[
        "embedded",
        pytest.param("ollama", marks=pytest.mark.ollama),
        pytest.param("ollama elsewhere", marks=pytest.mark.ollama),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Pushed, with nothing more to do."""
    folder = tmp_path / "project"
    if request.param == "embedded":
        shared = request.getfixturevalue("once")
        subprocess.run(["cp", "-a", f"{shared.folder}", str(folder)], check=True)
        found = Place(Project(folder), folder / "embedded" / "models")
        know_copies(found.artifact.parent)
        yield found
        return
    request.getfixturevalue("tools_bin")
    folder.mkdir()
    project = embedded(folder)
    shutil.copy(request.getfixturevalue("tiny_model"), project.model)
    project.write("deployq.toml", ONE.replace('name = "embedded"', 'name = "ollama"'))
    with running_ollama(request.getfixturevalue("ollama_binary"), tmp_path / "ollama") as server:
        assert server.models_dir is not None
        seen = request.param == "ollama"
        env = {"OLLAMA_HOST": server.url}
        env |= {"OLLAMA_MODELS": str(server.models_dir)} if seen else {}
        found = Place(project, server.models_dir, seen, env)
        found.push()
        yield found


def know_copies(folder: Path) -> None:
    """A copied artifact is another file; its record is to say so, as that of a built one does."""
    record, stat = folder / "artifact.json", (folder / "model.gguf").stat()
    content = json.loads(record.read_text())
    content["identity"] = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
    record.write_text(json.dumps(content))


def flip_a_bit(path: Path) -> None:
    """As a disk does it: the file's times stay what they were."""
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, path.stat().st_size // 2)
    path.chmod(0o444)


def digest(path: Path) -> str:
    return f"sha256-{hashlib.sha256(path.read_bytes()).hexdigest()}"


def require_whole(place: Place) -> None:
    """Every blob is what it is called, nothing is left to do, and every command says so."""
    for path in (place.store / "blobs").iterdir():
        assert digest(path) == path.name
    assert place.push("--locked") == "unchanged"
    assert set(place.states().values()) == {"ok"}
    assert place.run("verify", "--locked").code == 0
    assert place.run("cache", "--verify").code == 0


# ---------------------------------------------------------------- gone, cut


def test_what_is_whole_is_not_pushed_again(place: Place) -> None:
    require_whole(place)
    assert place.push("--verify-weights") == "unchanged"


@pytest.mark.parametrize("kind", ["model", "params", "system"])
def test_a_part_that_is_gone_is_put_back(place: Place, kind: str) -> None:
    place.layer(kind).unlink()
    assert place.states() == dict.fromkeys(TAGS, "damaged")
    assert place.run("verify", "--locked").code == 4
    assert place.push() == "done"
    require_whole(place)


def test_locked_puts_it_back_too(place: Place) -> None:
    place.layer("model").unlink()
    assert place.push("--locked") == "done"
    require_whole(place)


@pytest.mark.parametrize("kind", ["model", "params"])
def test_a_part_that_was_cut_is_replaced(place: Place, kind: str) -> None:
    """Hard-linked weights are cut in the cache, too."""
    cut(place.layer(kind))
    assert place.states()[TAGS[0]] == "damaged"
    assert place.push() == "done"
    require_whole(place)


# ---------------------------------------------------------------- other bytes


def test_a_flipped_bit_is_seen_by_verify_locked_and_mended(place: Place) -> None:
    if not place.seen:
        flip_a_bit(place.layer("model"))
        ran = place.run("verify", "--locked")
        assert ran.code == 0
        assert "not every byte" in ran.err, "what can't be checked is said"
        return
    blob = place.layer("model")
    flip_a_bit(blob)
    assert place.push() == "unchanged", "nothing that looks at less than every byte can see it"
    ran = place.run("verify", "--locked", "--json")
    assert ran.code == 4
    assert {tag["state"] for tag in ran.json["tags"]} == {"damaged"}
    assert "has other bytes" in ran.json["tags"][0]["reasons"][0]
    assert set(place.states().values()) == {"damaged"}, "it is remembered"
    assert place.push() == "done"
    require_whole(place)


def test_a_flipped_bit_is_mended_by_a_push_for_another_reason(place: Place) -> None:
    if place.seen:
        flip_a_bit(place.layer("model"))
        assert place.run("verify", "--locked").code == 4
        place.write_system("Be brief.")
        assert place.push() == "done"
        require_whole(place)


def test_a_flipped_bit_is_mended_by_a_push_that_hashes(place: Place) -> None:
    if place.seen:
        flip_a_bit(place.layer("model"))
        assert place.push("--verify-weights") == "done"
        require_whole(place)


def test_what_cache_verify_finds_is_mended_on_the_server_too(place: Place) -> None:
    flip_a_bit(place.artifact)
    assert place.run("cache", "--verify").code == 1
    assert place.push() == "done" if place.seen else True
    assert place.push() == "unchanged"
    require_whole(place)


def test_a_cut_artifact_is_made_again(place: Place) -> None:
    artifact = place.artifact
    content = artifact.read_bytes()
    artifact.unlink()  # a file of its own: the server's stays whole
    artifact.write_bytes(content[:-9])
    artifact.chmod(0o444)
    assert "damaged" in place.run("cache").err
    place.push()
    require_whole(place)


# ---------------------------------------------------------------- other people's tags


def tags_of(url: str) -> set[str]:
    found = requests.get(f"{url}/api/tags", timeout=SECONDS).json()["models"]
    return {model["name"] for model in found}


@pytest.mark.ollama
@pytest.mark.parametrize("place", ["ollama elsewhere"], indirect=True)
def test_a_tag_of_somebody_else_keeps_the_damaged_weights(place: Place) -> None:
    url = place.env["OLLAMA_HOST"]
    copy = {"source": TAGS[0], "destination": "mine:latest"}
    requests.post(f"{url}/api/copy", json=copy, timeout=SECONDS).raise_for_status()
    cut(place.layer("model"))
    ran = place.run("push", "tiny", "--targets", "box")
    assert ran.code == 5
    assert "mine:latest" in ran.err
    assert "ollama rm mine:latest" in " ".join(ran.err.split())
    assert tags_of(url) == {*TAGS, "mine:latest"}, "nothing was deleted"
    requests.delete(f"{url}/api/delete", json={"model": "mine"}, timeout=SECONDS)
    assert place.push() == "done"
    require_whole(place)


def test_another_tags_generations_go_with_the_damaged_weights(place: Place) -> None:
    """Where deployq can't replace the file, the server keeps it as long as a generation has it."""
    place.write_system("Be brief.")
    assert place.push() == "done"
    cut(place.layer("model"))
    assert place.push() == "done"
    require_whole(place)


def test_no_rollback_to_what_the_server_cannot_serve(place: Place) -> None:
    earlier = place.layer("system")
    place.write_system("Be brief.")
    assert place.push() == "done"
    earlier.unlink()
    ran = place.run("rollback", *TAGS)
    assert ran.code == 5
    assert "can't be served" in ran.err
    assert place.push() == "unchanged"
    assert set(place.states().values()) == {"ok"}


# ---------------------------------------------------------------- whom status speaks of


def test_siblings_that_were_not_asked_for_are_not_called_unknown(place: Place) -> None:
    for names in ([TAGS[0]], [TAGS[1]], list(TAGS), ["tiny"]):
        for command in (["status"], ["verify", "--locked"]):
            found: Any = place.run(*command, *names, "--json").json["tags"]
            assert {tag["state"] for tag in found} == {"ok"}, found
            assert {tag["tag"] for tag in found} <= ({*names} if names != ["tiny"] else {*TAGS})
