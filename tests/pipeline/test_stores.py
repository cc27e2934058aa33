"""Where a push writes, and that it doesn't start where there is no room."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from deployq.errors import DiskError
from deployq.pipeline.stores import place_of, require_disk, server_stores
from deployq.plan.disk import ARTIFACTS, disk_plan
from deployq.types import QuantSize
from tests.pipeline.conftest import Open


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    place = place_of(tmp_path / "a" / "b")
    assert place.device == tmp_path.stat().st_dev
    assert place.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)


def test_servers_here_and_elsewhere(
    tmp_path: Path, session_for: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    session = session_for('[runtime]\nname = "embedded"\ndir = "run"\n')
    artifacts = place_of(tmp_path)
    hosts = [None, "http://127.0.0.1:11434", "localhost", "http://192.168.1.20:11434"]
    stores = server_stores(session, hosts, artifacts)
    own = stores[None].place
    assert own is not None
    assert own.path == tmp_path / "run" / "embedded" / "models"
    assert stores[hosts[1]].place == artifacts
    assert stores[hosts[2]].place == artifacts
    assert stores[hosts[3]].place is None
    assert [stores[host].links for host in hosts] == [True, False, False, False]


@pytest.mark.parametrize(
    "host",
    ["http://localhost:11434", "http://127.0.0.1:11434", "http://[::1]:11434", "127.0.0.2",
     "http://0.0.0.0:11434", f"http://{socket.gethostname().upper()}:11434"],
)  # fmt: skip
def test_one_server_under_another_spelling_is_counted_once(
    tmp_path: Path, session_for: Open, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """A target whose host is the default server: its tags lie there once, and are linked."""
    (tmp_path / "models" / "blobs").mkdir(parents=True)
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    session = session_for('[runtime]\nname = "ollama"\n')
    artifacts = place_of(tmp_path)
    stores = server_stores(session, {None, host}, artifacts)
    assert stores[host] == stores[None]
    assert stores[host].links
    alone = server_stores(session, {host}, artifacts)[host]
    assert (alone.name, alone.links) == (stores[host].name, stores[host].links)
    sizes = [QuantSize("Q8_0", 1000, 8.5)]
    plan = disk_plan({stores[h]: sizes for h in (None, host)}, artifacts)
    assert [step.where for step in plan.steps if step.needed_bytes] == [ARTIFACTS]
    assert plan.needed_bytes == 1000
    require_disk(session, {None: sizes, host: [QuantSize("Q4_0", 1, 4.5)]}, [])


def test_two_spellings_of_another_server_here_are_one(
    tmp_path: Path, session_for: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    session = session_for('[runtime]\nname = "embedded"\n')
    hosts = ["http://localhost:11500", "http://[::1]:11500", "http://localhost:11501"]
    stores = server_stores(session, hosts, place_of(tmp_path))
    assert stores[hosts[0]] == stores[hosts[1]]
    assert stores[hosts[0]] != stores[hosts[2]]


def test_a_default_server_on_another_machine_needs_no_room_here(
    tmp_path: Path, session_for: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://192.0.2.20:11434")
    session = session_for('[runtime]\nname = "ollama"\n')
    stores = server_stores(session, [None, "192.0.2.20"], place_of(tmp_path))
    assert stores[None].place is None
    assert stores["192.0.2.20"] == stores[None]


def test_no_link_onto_another_file_system(tmp_path: Path, session_for: Open) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system here")
    session = session_for(f'[runtime]\nname = "embedded"\ndir = "{other}"\n')
    (store,) = server_stores(session, [None], place_of(tmp_path)).values()
    assert not store.links


@pytest.mark.parametrize(
    ("version", "links"),
    [("0.34.4", True), ("0.34.1", True), ("0.34.0", False), ("0.32.15", False), ("0.0.0", True)],
)
def test_an_old_ollama_makes_a_copy(
    tmp_path: Path, session_for: Open, monkeypatch: pytest.MonkeyPatch, version: str, links: bool
) -> None:
    (tmp_path / "models" / "blobs").mkdir(parents=True)
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    session = session_for('[runtime]\nname = "ollama"\n')
    (store,) = server_stores(session, [None], place_of(tmp_path), {None: version}).values()
    assert store.place is not None
    assert store.place.path == tmp_path / "models"
    assert store.links == links


def test_no_push_into_a_full_disk(session_for: Open) -> None:
    session = session_for('[runtime]\nname = "embedded"\n')
    huge = QuantSize("Q8_0", 1 << 60, 8.5)
    with pytest.raises(DiskError, match="too little"):
        require_disk(session, {None: [huge]}, [])
    require_disk(session, {None: [QuantSize("Q8_0", 1, 8.5)]}, [])
    elsewhere: dict[str | None, list[QuantSize]] = {"http://192.168.1.20": [huge]}
    require_disk(session, elsewhere, ["Q8_0"])
    with pytest.raises(DiskError, match="artifacts"):
        require_disk(session, elsewhere, [])
