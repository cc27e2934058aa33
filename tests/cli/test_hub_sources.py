"""`hf:ORG/NAME@REVISION` as a source: against a hub on this machine, its cache, and offline."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployq.digests import sha256_file
from tests.cli.conftest import Project, Ran
from tests.ollama_fixtures import free_port
from tests.small_hub import COMMIT, Repository, SmallHub, small_hub
from tests.source.test_projector import write_projector
from tests.source.training_files import write_adapter, write_model

NO_TOOLS = {"DEPLOYQ_TOOLS_DIR": "nowhere", "DEPLOYQ_LLAMA_CPP": "none"}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SmallHub]:
    """Has the model org/small, with a card and what training left."""
    folder = write_model(tmp_path / "hub" / "small")
    (folder / "README.md").write_text("a card")
    (folder / "optimizer.pt").write_bytes(b"state")
    with small_hub() as running:
        running.repositories["org/small"] = Repository(folder)
        yield running


def on_hub(project: Project, hub: SmallHub, *arguments: str, **env: str) -> Ran:
    home = str(project.folder / "hf")
    return project.run(
        *arguments, **{"HF_ENDPOINT": hub.url, "HF_HOME": home, "HF_HUB_DISABLE_XET": "1"} | env
    )


def inspected(project: Project, hub: SmallHub, *arguments: str, **env: str) -> dict[str, Any]:
    done = on_hub(project, hub, "inspect", *arguments, "--json", **env)
    assert done.code == 0, done.err
    return dict(done.json)


def in_cache(project: Project) -> set[str]:
    snapshot = project.folder / "hf/hub/models--org--small/snapshots" / COMMIT
    return {path.name for path in snapshot.iterdir()}


def test_a_plan_gets_small_files_and_headers_alone(project: Project, hub: SmallHub) -> None:
    local = project.run("inspect", str(hub.repositories["org/small"].folder), "--json").json
    found = inspected(project, hub, "hf:org/small")
    same = ("architecture", "dtype", "n_params", "file_bytes", "chat_template")
    assert {key: found[key] for key in same} == {key: local[key] for key in same}
    assert found["name"] == "small"
    assert found["notes"][0] == (
        f"source: hf:org/small at {COMMIT[:12]}, which its default branch is now"
    )
    assert "not downloaded yet: a push downloads" in found["notes"][1]
    assert in_cache(project) == {"config.json", "tokenizer.json", "tokenizer_config.json"}
    assert hub.sent_bytes["model.safetensors"] == 64 << 10
    plan = on_hub(project, hub, "plan", "hf:org/small", "--memory", "8GB")
    assert plan.code == 0, plan.err
    assert "not downloaded yet" in plan.out + plan.err
    assert hub.sent_bytes["model.safetensors"] == 64 << 10


def test_a_pinned_commit_is_asked_for_once(project: Project, hub: SmallHub) -> None:
    name = f"hf:org/small@{COMMIT}"
    first = inspected(project, hub, name)
    hub.asked.clear()
    assert inspected(project, hub, name) == first
    assert hub.asked == []


def test_a_push_downloads_all_of_the_model_and_nothing_else(
    project: Project, hub: SmallHub
) -> None:
    # No converter is set up here, so the push ends where the model would be converted.
    done = on_hub(project, hub, "push", f"hf:org/small@{COMMIT}", "--targets", "laptop", "--yes")
    assert done.code == 6, done.err
    names = {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}
    assert in_cache(project) == names
    hub.asked.clear()
    on_hub(project, hub, "push", f"hf:org/small@{COMMIT}", "--targets", "laptop", "--yes")
    found = inspected(project, hub, f"hf:org/small@{COMMIT}", HF_HUB_OFFLINE="1")
    assert not [note for note in found["notes"] if "not downloaded" in note]
    assert hub.asked == []


def test_offline_what_is_cached_counts(project: Project, hub: SmallHub) -> None:
    offline = on_hub(project, hub, "inspect", "hf:org/small", HF_HUB_OFFLINE="1")
    assert offline.code == 1
    assert "is not on this machine, and hf:org/small: HF_HUB_OFFLINE is set" in offline.err
    nobody = f"http://127.0.0.1:{free_port()}"
    unreachable = on_hub(project, hub, "inspect", "hf:org/small", HF_ENDPOINT=nobody)
    assert unreachable.code == 1
    assert "can't be reached" in unreachable.err
    first = inspected(project, hub, "hf:org/small")
    for env in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": nobody}):
        assert inspected(project, hub, "hf:org/small", **env) == first
    hub.asked.clear()
    other = on_hub(project, hub, "inspect", "hf:org/small@other", HF_HUB_OFFLINE="1")
    assert other.code == 1
    assert hub.asked == []


def test_what_another_tool_cached_is_used_offline(project: Project, hub: SmallHub) -> None:
    """The cache's own layout, without any record of deployq's."""
    storage = project.folder / "hf/hub/models--org--cached"
    write_model(storage / "snapshots" / COMMIT)
    (storage / "refs").mkdir()
    (storage / "refs" / "main").write_text(COMMIT)
    for name in ("hf:org/cached", f"hf:org/cached@{COMMIT}"):
        found = inspected(project, hub, name, HF_HUB_OFFLINE="1")
        assert (found["architecture"], found["name"]) == ("llama", "cached")


@pytest.mark.parametrize(
    ("name", "code", "said", "hint"),
    [
        ("hf:org/none", 2, "there is no such repository, or it is private", "HF_TOKEN"),
        ("hf:org/gated", 2, "is gated", "HF_TOKEN"),
        ("hf:org/small@v9", 2, "has no revision 'v9'", "a branch, a tag"),
        ("hf:small", 2, "names no model", "hf:ORG/NAME@REVISION"),
        ("hf:org/../small", 2, "names no model", "hf:ORG/NAME@REVISION"),
        ("hf:org/small/merged", 1, "holds no model", "hf:ORG/NAME/FOLDER"),
    ],
)
def test_what_is_wrong_is_named(
    project: Project, hub: SmallHub, name: str, code: int, said: str, hint: str
) -> None:
    folder = hub.repositories["org/small"].folder
    hub.repositories["org/gated"] = Repository(folder, token="hf_secret", gated=True)
    done = on_hub(project, hub, "inspect", name)
    assert (done.code, said in done.err, hint in done.err) == (code, True, True), done.err
    assert "Traceback" not in done.err


def test_the_token_is_the_librarys(project: Project, hub: SmallHub) -> None:
    folder = hub.repositories["org/small"].folder
    hub.repositories["org/private"] = Repository(folder, token="hf_secret")
    assert on_hub(project, hub, "inspect", "hf:org/private").code == 2
    done = on_hub(project, hub, "inspect", "hf:org/private", "--json", HF_TOKEN="hf_secret")
    assert done.code == 0, done.err
    kept = [path for path in project.folder.rglob("*") if path.is_file()]
    assert "hf_secret" not in done.out + done.err
    assert not [path for path in kept if b"hf_secret" in path.read_bytes()]


def test_an_adapter_on_a_base_of_the_hub(project: Project, hub: SmallHub) -> None:
    adapter = write_adapter(project.folder / "tuned", base="org/small")
    found = inspected(project, hub, str(adapter))
    assert any(note.startswith("source: hf:org/small at 0123456789ab") for note in found["notes"])
    given = inspected(project, hub, str(adapter), "--base", f"hf:org/small@{COMMIT}")
    assert any("to be merged into" in note for note in given["notes"])
    hub.repositories["org/tuned"] = Repository(adapter)
    both = inspected(project, hub, "hf:org/tuned")
    assert both["name"] == "tuned"
    assert both["n_params"] == given["n_params"]


def test_a_gguf_in_full_precision_among_others(project: Project, hub: SmallHub) -> None:
    folder = project.folder / "hub" / "gguf"
    folder.mkdir()
    for name in ("small-F16.gguf", "small-Q8_0.gguf", "mmproj-F16.gguf"):
        (folder / name).write_bytes(project.model.read_bytes())
    hub.repositories["org/gguf"] = Repository(folder)
    found = inspected(project, hub, "hf:org/gguf")
    assert found["notes"][1] == (
        "source: small-F16.gguf is in full precision; passed over: small-Q8_0.gguf"
    )
    assert found["format"] == "gguf"
    named = inspected(project, hub, "hf:org/gguf/small-Q8_0.gguf")
    assert named["n_params"] == found["n_params"]
    (folder / "small-F16.gguf").rename(folder / "small-Q4_K_M.gguf")
    hub.repositories["org/gguf"].commit = "f" * 40
    refused = on_hub(project, hub, "inspect", "hf:org/gguf")
    assert refused.code == 1
    assert "none is named as full precision: small-Q4_K_M.gguf, small-Q8_0.gguf" in refused.err


def test_a_download_goes_on_where_it_was_cut_off(project: Project, hub: SmallHub) -> None:
    """The library begins anew; here the process is killed in the middle of a file of 64 MiB."""
    large = hub.repositories["org/small"].folder / "tuned-F16.gguf"
    large.write_bytes(project.model.read_bytes() + bytes(64 << 20))
    hub.pause_seconds = 0.05
    name = "hf:org/small/tuned-F16.gguf"
    env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(project.folder / "hf"), **NO_TOOLS}
    child = project.start("push", name, "--targets", "laptop", "--yes", **env)
    blobs = project.folder / "hf/hub/models--org--small/blobs"
    deadline = time.monotonic() + 60
    while not any(file.stat().st_size > 20 << 20 for file in blobs.glob("*.incomplete")):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.kill()
    child.communicate()
    (partial,) = blobs.glob("*.deployq.incomplete")
    kept = partial.stat().st_size
    hub.pause_seconds = 0.0
    hub.sent_bytes.clear()
    on_hub(project, hub, "push", name, "--targets", "laptop", "--yes", **NO_TOOLS)
    assert hub.sent_bytes["tuned-F16.gguf"] <= large.stat().st_size - kept
    assert blobs.joinpath(sha256_file(large)).read_bytes() == large.read_bytes()
    assert list(blobs.glob("*.deployq.*")) == []


def test_other_bytes_than_the_hub_announced(project: Project, hub: SmallHub) -> None:
    hub.damaged.add("model.safetensors")
    push = ("push", "hf:org/small", "--targets", "laptop", "--yes")
    done = on_hub(project, hub, *push)
    assert done.code == 1, done.err
    assert "model.safetensors arrived with other bytes than the hub announced" in done.err
    hub.damaged.clear()
    assert "can't be converted here" in on_hub(project, hub, *push, **NO_TOOLS).err


def test_a_projector_in_another_folder_than_its_gguf(project: Project, hub: SmallHub) -> None:
    folder = project.folder / "hub" / "eyes"
    (folder / "F16").mkdir(parents=True)
    (folder / "F16" / "m-F16.gguf").write_bytes(project.model.read_bytes())
    write_projector(folder / "mmproj-F16.gguf", 256)
    hub.repositories["org/eyes"] = Repository(folder)
    for _ in range(2):  # as an outline, then downloaded
        found = inspected(project, hub, "hf:org/eyes")
        assert "projector: mmproj-F16.gguf" in found["notes"]
        assert found["projector_bytes"] == 256 * 256 * 2
        on_hub(project, hub, "push", "hf:org/eyes", "--targets", "laptop", "--yes", **NO_TOOLS)


@pytest.mark.tools
@pytest.mark.usefixtures("tools_bin")
def test_a_push_pins_the_commit_in_the_lockfile(project: Project, hub: SmallHub) -> None:
    folder = project.folder / "hub" / "gguf"
    folder.mkdir()
    (folder / "tuned-F16.gguf").write_bytes(project.model.read_bytes())
    hub.repositories["org/tuned"] = Repository(folder)
    push = ("push", "hf:org/tuned", "--targets", "laptop", "--quants", "Q8_0", "--yes")
    done = on_hub(project, hub, *push)
    assert done.code == 0, done.err
    lock = (project.folder / "deployq.lock").read_text()
    assert f'source = "hf:org/tuned@{COMMIT}"' in lock
    hub.asked.clear()
    hub.repositories["org/tuned"].commit = "f" * 40  # somebody changed it
    again = on_hub(project, hub, *push, "--locked", "--json")
    assert again.code == 0, again.err
    assert [t["status"] for t in again.json["targets"]] == ["unchanged"]
    assert hub.asked == []
