"""What a tag was before, and whether it still is what it was pushed as, as a user types it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from filelock import FileLock

from deployq.tags.lockfile import Lockfile
from tests.cli.conftest import CONFIG, Project
from tests.tiny import write_tiny_llama

pytestmark = pytest.mark.tools

SYSTEM = CONFIG.replace('quants = ["Q8_0", "Q4_K_M"]', 'quants = ["Q8_0"]\nsystem = "Be short."')
ONE = CONFIG.replace('quants = ["Q8_0", "Q4_K_M"]', 'quants = ["Q8_0"]')
TAGS = ("tiny:q8_0", "tiny:laptop")


def push(project: Project, *more: str) -> Any:
    ran = project.run("push", "tiny", "--targets", "laptop", "--json", *more)
    assert ran.code == 0, ran.err
    return ran.json


@pytest.fixture
def twice(project: Project, tools_bin: Path) -> Project:
    """Pushed, and pushed again with another system prompt."""
    assert tools_bin
    project.write("deployq.toml", ONE)
    push(project)
    project.write("deployq.toml", SYSTEM)
    push(project)
    return project


def generations(project: Project, tag: str = "tiny:q8_0") -> list[tuple[int, bool]]:
    found = project.run("history", tag, "--json").json["generations"]
    return [(one["number"], one["current"]) for one in found]


def system(project: Project, tag: str) -> str | None:
    return str(project.run("show", tag, "--json").json["system"])


def test_history_diff_and_rollback(twice: Project) -> None:
    assert generations(twice) == [(2, True), (1, False)]
    shown = twice.run("history", "tiny:q8_0").out
    assert "►  2" in " ".join(shown.split()).replace("► ", "►  ")
    diff = twice.run("diff", "tiny:q8_0@1", "tiny:q8_0")
    assert "+SYSTEM Be short." in diff.out.replace('"', "")
    assert twice.run("diff", "tiny:q8_0@2", "tiny:q8_0", "--json").json["same"] is True
    ran = twice.run("rollback", *TAGS)
    assert ran.code == 0, ran.err
    assert "tiny:q8_0 holds generation 1 again, it held 2" in ran.err
    assert [system(twice, tag) for tag in TAGS] == ["None", "None"]
    assert generations(twice) == [(2, False), (1, True)]
    assert twice.run("rollback", "tiny:q8_0").code == 2, "there is nothing before the first"
    assert twice.run("rollback", *TAGS, "--to", "2").code == 0
    assert [system(twice, tag) for tag in TAGS] == ["Be short."] * 2
    assert "nothing to do" in twice.run("push", "tiny", "--targets", "laptop").out


def test_after_a_rollback_the_next_push_is_the_third_generation(twice: Project) -> None:
    assert twice.run("rollback", *TAGS).code == 0
    twice.write("deployq.toml", SYSTEM.replace("Be short.", "Be long."))
    push(twice)
    assert generations(twice) == [(3, True), (2, False), (1, False)]
    assert system(twice, "tiny:q8_0") == "Be long."


def test_only_so_many_generations_are_kept(twice: Project) -> None:
    for number in range(3):
        text = SYSTEM.replace("Be short.", f"Be {number}.") + "[tags]\nkeep = 1\n"
        twice.write("deployq.toml", text)
        push(twice)
    assert generations(twice) == [(5, True), (4, False)]
    assert (twice.folder / "deployq.lock").read_text().count(".earlier = [") == 2


def test_remove_takes_the_earlier_generations_along(twice: Project) -> None:
    removed = twice.run("remove", "tiny:laptop", "-y", "--json").json["removed"]
    assert (removed[0]["generations"], removed[0]["held_by"][-1]) == (1, "tiny:q8_0")
    ran = twice.run("remove", "tiny:q8_0", "-y")
    assert "removed tiny:q8_0 and 1 earlier generation: " in ran.err
    with twice.serving() as url:
        assert requests.get(f"{url}/api/tags", timeout=30).json() == {"models": []}
    assert twice.run("history", "tiny:q8_0").code == 2
    assert "tiny" not in (twice.folder / "deployq.lock").read_text()


def test_remove_waits_for_a_push_of_that_model(twice: Project) -> None:
    (lock,) = (twice.folder / "cache" / "locks").glob("*.lock")
    with FileLock(lock):
        child = twice.start("remove", "tiny:laptop", "-y")
        assert child.stderr is not None
        assert "waiting for another deployq" in child.stderr.readline()
        assert len(generations(twice, "tiny:laptop")) == 2
    _, said = child.communicate(timeout=60)
    assert (child.returncode, "removed tiny:laptop" in said) == (0, True)


def states(project: Project, *more: str) -> dict[str, tuple[str, str]]:
    found = project.run("status", "--json", *more).json["tags"]
    return {tag["tag"]: (tag["state"], "; ".join(tag["reasons"])) for tag in found}


def test_status_where_nothing_here_quantizes(twice: Project, tools_bin: Path) -> None:
    """A machine of a CI that only looks: what a push would build there says nothing of the tags."""
    tools = twice.folder / "serving-only"
    tools.mkdir()
    (tools / "llama-server").symlink_to(tools_bin / "llama-server")
    bare = {"DEPLOYQ_LLAMA_CPP": str(tools), "DEPLOYQ_TOOLS_DIR": str(twice.folder)}
    found = twice.run("status", "--json", **bare).json["tags"]
    assert {(tag["state"], *tag["reasons"]) for tag in found} == {("ok",)}
    assert "can make Q8_0" in twice.run("push", "tiny", "--targets", "laptop", **bare).err


def test_status_tells_what_changed_here(twice: Project) -> None:
    assert set(states(twice).values()) == {("ok", "")}
    assert twice.run("status").code == 0
    twice.write("deployq.toml", ONE)
    assert states(twice)["tiny:q8_0"] == ("drifted", "the modelfile changed since")
    twice.write("deployq.toml", SYSTEM)
    suite = twice.folder / "suite.toml"
    suite.write_text(suite.read_text().replace("hi", "ho"))
    assert states(twice)["tiny:q8_0"] == ("drifted", "the suite changed since")
    twice.model.unlink()
    write_tiny_llama(twice.model, seed=5)
    assert "the source changed since" in states(twice)["tiny:q8_0"][1]
    assert twice.run("status").code == 1


def test_status_tells_what_changed_on_the_server(twice: Project) -> None:
    assert twice.run("verify", "--locked").code == 0
    with twice.serving() as url:
        requests.post(
            f"{url}/api/copy",
            json={"source": "deployq-history/tiny:q8_0.1", "destination": "tiny:q8_0"},
            timeout=30,
        ).raise_for_status()
        requests.delete(
            f"{url}/api/delete", json={"model": "tiny:laptop"}, timeout=30
        ).raise_for_status()
        requests.post(
            f"{url}/api/copy",
            json={"source": "tiny:q8_0", "destination": "tiny:mine"},
            timeout=30,
        ).raise_for_status()
    found = states(twice)
    assert found["tiny:q8_0"] == ("drifted", "somebody gave it generation 1 again")
    assert found["tiny:laptop"] == ("lost", "the server does not have it")
    assert found["tiny:mine"][0] == "unknown"
    ran = twice.run("verify", "--locked")
    assert ran.code == 4
    assert "lost" in ran.out
    push(twice)
    assert {state for state, _ in states(twice).values()} == {"ok", "unknown"}
    assert twice.run("verify", "--locked").code == 0


def test_push_locked_makes_exactly_that_or_fails(twice: Project) -> None:
    assert push(twice, "--locked")["targets"][0]["status"] == "unchanged"
    twice.run("remove", "tiny:q8_0", "tiny:laptop", "-y")
    lost = twice.run("push", "tiny", "--targets", "laptop", "--locked")
    assert lost.code == 1
    assert "tiny:q8_0 on embedded is not in it" in lost.err
    push(twice)
    twice.write("deployq.toml", ONE)
    ran = twice.run("push", "tiny", "--targets", "laptop", "--locked")
    assert ran.code == 1
    assert "tiny:q8_0: the modelfile changed" in ran.err
    twice.write("deployq.toml", SYSTEM)
    lock = twice.folder / "deployq.lock"
    digest = next(iter(Lockfile.load(lock).entries.values())).blob_digest
    lock.write_text(
        lock.read_text()
        .replace(digest, "0" * 64)
        .replace('manifest_digest = "', 'manifest_digest = "f')
    )
    ran = twice.run("push", "tiny", "--targets", "laptop", "--locked")
    assert ran.code == 1
    assert "the weights built here are sha256:" in ran.err


def test_bad_names_and_generations(twice: Project) -> None:
    assert twice.run("history", "tiny:nope").code == 2
    assert twice.run("diff", "tiny:q8_0@9", "tiny:q8_0").code == 2
    assert twice.run("diff", "tiny:q8_0@x", "tiny:q8_0").code == 2
    assert twice.run("rollback", "tiny:q8_0", "--to", "2").code == 2
    assert twice.run("rollback", "tiny:q8_0", "other:q8_0").code == 2


def test_a_target_may_not_be_called_as_a_quant(project: Project) -> None:
    project.write("deployq.toml", CONFIG.replace("[targets.box]", "[targets.Q8_0]"))
    ran = project.run("push", "tiny", "--targets", "Q8_0")
    assert ran.code == 2
    assert "its alias would be the tag of the quant Q8_0" in ran.err
