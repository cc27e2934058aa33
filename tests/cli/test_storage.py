"""What lies where, and taking it away: prune, cache, remove, as a user types them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from filelock import FileLock

from deployq.tags.holders import Holder
from deployq.tags.markers import Marker, new_id, raise_marker
from deployq.tags.server import Server
from tests.cli.conftest import CONFIG, PASSING, Project

pytestmark = pytest.mark.tools

ONE = CONFIG.replace('quants = ["Q8_0", "Q4_K_M"]', 'quants = ["Q8_0"]')
NOW = ("--older-than", "0s")
TIMEOUT = 60


@pytest.fixture(scope="module")
def once(tools_bin: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One tag and its alias, linked; the tests work on copies of it."""
    assert tools_bin
    project = Project(tmp_path_factory.mktemp("once"))
    shutil.copy(tiny_model, project.model)
    project.write("suite.toml", PASSING)
    project.write("deployq.toml", ONE)
    return push(project)


@pytest.fixture
def pushed(once: Project, tmp_path: Path) -> Project:
    """A copy, with its hard links, that no other project shares a cache with."""
    subprocess.run(["cp", "-a", f"{once.folder}/.", str(tmp_path)], check=True)
    shutil.rmtree(tmp_path / "cache" / "projects")
    return Project(tmp_path)


def push(project: Project, *more: str) -> Project:
    ran = project.run("push", "tiny", "--targets", "box", *more)
    assert ran.code == 0, ran.err
    return project


def artifacts(project: Project) -> list[Path]:
    return sorted((project.folder / "cache" / "artifacts").rglob("model.gguf"))


def blobs(project: Project) -> Path:
    return project.folder / "embedded" / "models" / "blobs"


def used(project: Project) -> int:
    """Bytes of all files of the cache and the server, each file once, whatever its names."""
    files = {}
    for folder in (blobs(project), project.folder / "cache" / "artifacts"):
        for path in folder.rglob("*"):
            if path.is_file() and path.name != "artifact.json":
                stat = path.stat()
                files[stat.st_ino] = stat.st_size
    return sum(files.values())


def prune(project: Project, *more: str) -> Any:
    ran = project.run("prune", "--json", *NOW, *more)
    assert ran.code == 0, ran.err
    return ran.json


def kinds(found: Any) -> list[str]:
    return [item["kind"] for item in found["items"]]


# ---------------------------------------------------------------- links


def test_weights_are_there_once(pushed: Project) -> None:
    (artifact,) = artifacts(pushed)
    linked = [path for path in blobs(pushed).iterdir() if path.samefile(artifact)]
    assert [path.name for path in linked] == [
        f"sha256-{hashlib.sha256(artifact.read_bytes()).hexdigest()}"
    ]
    report = json.loads(next((pushed.folder / ".deployq").rglob("report.json")).read_text())
    (upload,) = [s for s in report["targets"][0]["tags"][0]["steps"] if s["step"] == "upload"]
    assert (upload["bytes"], upload["detail"]) == (0, "hard-linked")


def test_a_push_after_one_does_not_hash_its_artifact(project: Project, tools_bin: Path) -> None:
    assert tools_bin
    project.write("deployq.toml", ONE)
    push(project)
    project.write("deployq.toml", ONE.replace("context = 256", "context = 384"))
    ran = project.run("push", "tiny", "--targets", "box")
    assert ran.code == 0
    assert "checking" not in ran.err
    assert "hashing" not in ran.err


# ---------------------------------------------------------------- prune


def test_nothing_to_prune_after_a_push(pushed: Project) -> None:
    found = prune(pushed, "-y")
    assert (found["items"], found["freed_bytes"]) == ([], 0)
    assert "nothing to remove" in pushed.run("prune", *NOW).err


def test_what_is_young_is_left_alone(pushed: Project) -> None:
    (pushed.folder / "deployq.lock").unlink()
    found = pushed.run("prune", "-y", "--json").json
    assert found["items"] == []
    assert any("used just now" in note for note in found["notes"])
    assert len(artifacts(pushed)) == 1


def test_remove_and_prune_count_one_file_once(pushed: Project) -> None:
    (artifact,) = artifacts(pushed)
    size, before = artifact.stat().st_size, used(pushed)
    removed = pushed.run("remove", "tiny:box", "tiny:q8_0", "-y", "--json").json["removed"]
    assert removed[0]["held_by"] == ["tiny:q8_0"]
    assert removed[1]["linked_bytes"] == size
    assert sum(one["freed_bytes"] for one in removed) == before - used(pushed)
    found = prune(pushed, "--dry-run")
    assert (kinds(found), found["frees_bytes"], found["dry_run"]) == (["artifact"], size, True)
    assert len(artifacts(pushed)) == 1, "a dry run removes nothing"
    before = used(pushed)
    assert prune(pushed, "-y")["freed_bytes"] == size == before - used(pushed)
    assert artifacts(pushed) == []


def test_an_artifact_whose_blob_stays_frees_nothing(pushed: Project) -> None:
    (pushed.folder / "deployq.lock").unlink()
    found = prune(pushed, "-y")
    (item,) = found["items"]
    assert (item["kind"], item["frees_bytes"], item["freed_bytes"]) == ("artifact", 0, 0)
    assert item["size_bytes"] > 0
    assert "a server's store still has the same file" in item["why"]
    assert pushed.run("verify", "tiny:q8_0", "--suite", "suite.toml").code == 0


def test_another_projects_artifacts_stay(pushed: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "other")
    other.folder.mkdir()
    other.write("deployq.toml", ONE.replace('cache = "cache"', f'cache = "{pushed.folder}/cache"'))
    push(pushed)  # there is nothing to do, but it is known from now on
    assert prune(other)["items"] == []
    (pushed.folder / "deployq.lock").write_text("<<<<<<< ours\n")
    found = prune(other, "-y")
    assert found["items"] == []
    assert any("artifacts are left alone" in note for note in found["notes"])
    (pushed.folder / "deployq.lock").unlink()
    assert kinds(prune(other)) == ["artifact"]


def test_staged_tags_and_old_generations_go(pushed: Project) -> None:
    pushed.write("deployq.toml", ONE.replace("num_ctx = 256", "num_ctx = 256, top_k = 5"))
    push(pushed)
    with pushed.serving() as url:
        copy = {"source": "tiny:q8_0", "destination": "deployq-staging/tiny:q8_0"}
        requests.post(f"{url}/api/copy", json=copy, timeout=TIMEOUT).raise_for_status()
        found = prune(pushed, "--keep", "0", "-y")
        names = {
            m["name"] for m in requests.get(f"{url}/api/tags", timeout=TIMEOUT).json()["models"]
        }
    assert kinds(found) == ["staged tag", "earlier generation", "earlier generation"]
    assert all(item["removed"] for item in found["items"])
    assert all(item["frees_bytes"] == item["freed_bytes"] for item in found["items"])
    assert 0 < found["freed_bytes"] < 10_000, "texts alone: the weights are those of the tag"
    assert names == {"tiny:q8_0", "tiny:box"}


def test_generations_are_kept_by_the_setting(pushed: Project) -> None:
    for top_k in (5, 6, 7):
        text = ONE.replace("num_ctx = 256", f"num_ctx = 256, top_k = {top_k}")
        pushed.write("deployq.toml", text)
        push(pushed)
    assert prune(pushed)["items"] == []
    names = [item["name"] for item in prune(pushed, "--keep", "1")["items"]]
    assert "deployq-history/tiny:q8_0.1" in names
    assert "deployq-history/tiny:q8_0.2" in names
    assert "deployq-history/tiny:q8_0.3" not in names


def test_blobs_that_are_not_known_to_be_deployqs_are_named_first(pushed: Project) -> None:
    foreign = blobs(pushed) / f"sha256-{hashlib.sha256(b'x').hexdigest()}"
    foreign.write_bytes(b"x")
    found = prune(pushed, "-y")
    (item,) = found["items"]
    assert (item["kind"], item["made_here"], item["removed"]) == ("blob", False, False)
    assert foreign.exists()
    assert "--orphans" in " ".join(pushed.run("prune", *NOW).out.split())
    assert prune(pushed, "-y", "--orphans")["freed_bytes"] == 1
    assert not foreign.exists()


def test_blobs_that_deployq_made_and_what_it_did_not_finish_go(pushed: Project) -> None:
    (artifact,) = artifacts(pushed)
    own = blobs(pushed) / f"sha256-{hashlib.sha256(artifact.read_bytes()).hexdigest()}"
    pushed.run("remove", "tiny:box", "tiny:q8_0", "-y")
    assert not own.exists()
    os.link(artifact, own)  # as a push does that is killed before create
    (blobs(pushed) / "sha256-abc-partial").write_bytes(b"half")
    found = prune(pushed, "-y")
    assert sorted(kinds(found)) == ["artifact", "blob", "unfinished file"]
    assert found["freed_bytes"] == artifact_size(found) + 4
    assert list(blobs(pushed).iterdir()) == []


def test_matrices_and_texts_that_nothing_needs_go(pushed: Project) -> None:
    cache = pushed.folder / "cache"
    matrix, texts = cache / "imatrix" / ("a" * 40) / "imatrix.gguf", cache / "texts"
    for file in (matrix, texts / "old.txt", texts / "new.txt"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"12345")
    os.utime(texts / "old.txt", (0, 0))
    found = prune(pushed, "--dry-run")
    assert sorted(kinds(found)) == ["importance matrix", "text"]
    assert found["freed_bytes"] == 0
    assert [item["frees_bytes"] for item in found["items"]] == [5, 5]
    assert prune(pushed, "-y")["freed_bytes"] == 10
    assert [path.name for path in texts.iterdir()] == ["new.txt"]
    assert not matrix.exists()


def artifact_size(found: Any) -> int:
    return int(next(i["size_bytes"] for i in found["items"] if i["kind"] == "artifact"))


def test_a_damaged_manifest_keeps_all_blobs(pushed: Project) -> None:
    foreign = blobs(pushed) / f"sha256-{hashlib.sha256(b'x').hexdigest()}"
    foreign.write_bytes(b"x")
    cut = next((blobs(pushed).parent / "manifests").rglob("box"))
    cut.write_bytes(b"")
    found = prune(pushed, "-y", "--orphans")
    assert found["items"] == []
    assert any("tiny:box, which is damaged" in note for note in found["notes"])
    assert foreign.exists()


def test_a_push_under_way_loses_nothing(project: Project, tools_bin: Path) -> None:
    """Pruned over and over while it builds, links, stages, verifies and promotes."""
    assert tools_bin
    many = "\n".join(f'[[prompts]]\nuser = "{n}"' for n in range(40))
    project.write("suite.toml", f"options = {{ num_predict = 8 }}\ncheck.max_tokens = 8\n{many}")
    project.write("deployq.toml", ONE)
    child = project.start("push", "tiny", "--targets", "box")
    notes: list[str] = []
    while child.poll() is None:
        found = project.run("prune", "-y", "--json", "--keep", "0")
        notes += found.json["notes"] if found.code == 0 else []
        time.sleep(0.05)
    _, err = child.communicate(timeout=TIMEOUT)
    assert child.returncode == 0, err
    assert any("a push is under way" in note for note in notes)
    assert project.run("verify", "tiny").code == 0


def test_without_a_server_artifacts_can_go(pushed: Project) -> None:
    (pushed.folder / "deployq.lock").unlink()
    gone = "http://127.0.0.1:1"
    ran = pushed.run("prune", "-y", "--json", *NOW, "--runtime", "ollama", OLLAMA_HOST=gone)
    assert ran.code == 0
    assert kinds(ran.json) == ["artifact"]
    assert "artifacts alone" in ran.err
    assert pushed.run("prune", "--host", gone).code == 5


def test_without_a_terminal_nothing_goes_unasked(pushed: Project) -> None:
    (pushed.folder / "deployq.lock").unlink()
    ran = pushed.run("prune", *NOW)
    assert ran.code == 0
    assert "nothing was removed: deployq prune -y" in ran.err
    assert len(artifacts(pushed)) == 1
    assert pushed.run("prune", "--older-than", "soon").code == 2


# ---------------------------------------------------------------- cache


def flip_a_bit(path: Path) -> None:
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    path.chmod(0o444)


def test_the_cache_is_listed_checked_and_emptied(pushed: Project) -> None:
    (one,) = pushed.run("cache", "--json").json["artifacts"]
    (artifact,) = artifacts(pushed)
    assert one["key"] == artifact.parent.name
    assert one["tags"] == ["tiny:box", "tiny:q8_0"]
    assert (one["quant"], one["links"], one["damaged"]) == ("Q8_0", 1, "")
    assert one["source_digest"] == hashlib.sha256(pushed.model.read_bytes()).hexdigest()
    assert pushed.run("cache", "--verify").code == 0
    flip_a_bit(artifact)
    ran = pushed.run("cache", "--verify")
    assert ran.code == 1
    assert "is damaged: its sha256 is" in ran.err
    assert pushed.run("cache", "--remove", "0000").code == 2
    ran = pushed.run("cache", "--remove", one["key"][:12], "--json")
    assert ran.json["removed"] == [{"key": one["key"], "freed_bytes": 0}]
    assert "a server's store has the same file" in ran.err
    assert pushed.run("cache", "--json").json["artifacts"] == []


def test_a_flipped_bit_is_noticed_and_mended_everywhere(pushed: Project) -> None:
    """One file is the artifact and the server's blob: both are damaged, both are made good."""
    (artifact,) = artifacts(pushed)
    digest = hashlib.sha256(artifact.read_bytes()).hexdigest()
    flip_a_bit(artifact)
    blob = blobs(pushed) / f"sha256-{digest}"
    assert hashlib.sha256(blob.read_bytes()).hexdigest() != digest
    pushed.write("deployq.toml", ONE.replace("num_ctx = 256", "num_ctx = 256, top_k = 5"))
    report = pushed.run("push", "tiny", "--targets", "box", "--json").json
    steps = {step["step"]: step["status"] for step in report["targets"][0]["tags"][0]["steps"]}
    assert steps["quantize"] == "done", "it was made anew"
    for path in (artifact, blob):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert pushed.run("cache", "--verify").code == 0


def half_build(project: Project, key: str, folder: str) -> Path:
    """What a build that was killed leaves."""
    left = project.folder / "cache" / folder
    left.mkdir(parents=True)
    (left / "model.gguf").write_bytes(b"GGUF half")
    (project.folder / "cache" / "artifacts" / key[:2]).mkdir(parents=True, exist_ok=True)
    return left


DEAD, SCRATCH, LIVING = "ab" * 32, "cd" * 32, "ef" * 32


@pytest.fixture
def half_built(pushed: Project) -> Iterator[list[Path]]:
    """Left by processes that were killed, twice; and one that is being made."""
    cache = pushed.folder / "cache"
    left = [
        half_build(pushed, DEAD, f"artifacts/ab/.{DEAD}.building"),
        half_build(pushed, SCRATCH, f"scratch/{SCRATCH}"),
        half_build(pushed, LIVING, f"artifacts/ef/.{LIVING}.building"),
    ]
    with FileLock(cache / "artifacts" / "ef" / f".{LIVING}.lock"):
        yield left


def test_half_built_artifacts_are_listed(pushed: Project, half_built: list[Path]) -> None:
    ran = pushed.run("cache", "--json")
    found = {one["key"]: (one["bytes"], one["being_made"]) for one in ran.json["half_built"]}
    assert found == {DEAD: (9, False), SCRATCH: (9, False), LIVING: (9, True)}
    assert f"{DEAD[:12]} is half built, 9 B: a process that was killed left it" in ran.err
    assert f"{LIVING[:12]} is half built, 9 B: it is being made now" in ran.err
    assert all(folder.exists() for folder in half_built)


def test_a_push_with_nothing_to_do_clears_what_is_dead(
    pushed: Project, half_built: list[Path]
) -> None:
    ran = pushed.run("push", "tiny", "--targets", "box")
    assert "nothing to do" in ran.out
    assert "left half built by a process that was killed: 18 B freed" in ran.err
    assert [folder.exists() for folder in half_built] == [False, False, True]
    assert "half built" not in pushed.run("push", "tiny", "--targets", "box").err


def test_prune_clears_what_is_dead(pushed: Project, half_built: list[Path]) -> None:
    found = pushed.run("prune", "-y", "--json").json
    assert kinds(found) == ["half-built artifact"] * 2
    assert found["freed_bytes"] == 18
    assert [folder.exists() for folder in half_built] == [False, False, True]


def test_a_build_that_is_killed_is_cleared(project: Project, tools_bin: Path) -> None:
    assert tools_bin
    project.write("deployq.toml", ONE)
    child = project.start("push", "tiny", "--targets", "box")
    cache, deadline = project.folder / "cache", time.monotonic() + TIMEOUT
    while not list(cache.glob("artifacts/*/.*.building")):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    child.kill()
    child.communicate()
    if left := list(cache.glob("artifacts/*/.*.building")):  # it was not too quick for us
        push(project)
        assert not left[0].exists()


def test_two_pushes_at_once_build_once(project: Project, tools_bin: Path) -> None:
    assert tools_bin
    project.write("deployq.toml", ONE)
    children = [
        project.start("push", "tiny", "--targets", target, "--json") for target in ("box", "laptop")
    ]
    outputs = [child.communicate(timeout=240) for child in children]
    assert [child.returncode for child in children] == [0, 0], outputs
    built = [err for _, err in outputs if "tensors" in err]
    assert len(built) == 1, outputs
    assert len(artifacts(project)) == 1


def test_blobs_stay_while_anybody_pushes(pushed: Project) -> None:
    """A push from another HOME may have sent what no tag is made of yet."""
    foreign = blobs(pushed) / f"sha256-{hashlib.sha256(b'x').hexdigest()}"
    foreign.write_bytes(b"x")
    holder = Holder("anna@den", "another machine", 1, "")
    marker = Marker(new_id(), "tiny", "push", "2026-11-30T21:03:00+00:00", holder)
    with pushed.serving() as url, Server(url) as server:
        raise_marker(server, marker)
        found = prune(pushed, "-y", "--orphans")
        server.delete(str(marker.name))
        assert (found["items"], foreign.exists()) == ([], True)
        assert any("blobs are left alone" in note for note in found["notes"])
        prune(pushed, "-y", "--orphans")
    assert not foreign.exists()
