from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from deployq.artifacts.store import Inputs, artifact_key
from deployq.artifacts.workshop import Workshop
from deployq.errors import ArtifactError, DiskError

INPUTS = Inputs("a" * 64, "Q8_0", "llamacpp", "b11434")
CONTENT = b"GGUF and so on"


@pytest.fixture
def store(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "cache")


def put(store: Workshop, inputs: Inputs = INPUTS, content: bytes = CONTENT) -> Path:
    with store.building(inputs) as draft:
        draft.path.write_bytes(content)
        return draft.finish(seconds=1.5).path


def leftovers(store: Workshop) -> list[Path]:
    """Whatever is neither an artifact nor a lock."""
    return [
        path
        for path in store.folder.rglob("*")
        if path.name not in ("model.gguf", "artifact.json")
        and path.suffix != ".lock"
        and (path.name.startswith(".") or path.is_file())
    ]


def test_key_depends_on_everything_that_goes_in() -> None:
    keys = {
        artifact_key("s", "Q8_0", "llamacpp", "1"),
        artifact_key("t", "Q8_0", "llamacpp", "1"),
        artifact_key("s", "Q6_K", "llamacpp", "1"),
        artifact_key("s", "Q8_0", "numpy", "1"),
        artifact_key("s", "Q8_0", "llamacpp", "2"),
        artifact_key("s", "Q8_0", "llamacpp", "1", "x"),
        artifact_key("s", "Q8_0", "llamacpp", "1", "y"),
    }
    assert len(keys) == 7
    assert INPUTS.key == artifact_key("a" * 64, "Q8_0", "llamacpp", "b11434")


def test_a_finished_artifact(store: Workshop) -> None:
    told: list[tuple[object, ...]] = []
    with store.building(INPUTS) as draft:
        assert draft.artifact is None
        draft.path.write_bytes(CONTENT)
        made = draft.finish(1.5, lambda *call: told.append(call))
    assert made.path.read_bytes() == CONTENT
    assert made.path.name == "model.gguf"
    assert made.path.parent.name == made.key == INPUTS.key
    assert made.digest == hashlib.sha256(CONTENT).hexdigest()
    assert (made.file_bytes, made.seconds, made.reused) == (len(CONTENT), 1.5, False)
    assert made.path.stat().st_mode & 0o777 == 0o444
    assert told == [("hashing Q8_0", len(CONTENT), len(CONTENT), "bytes")]
    assert store.get(INPUTS.key) == replace(made, reused=True)
    assert leftovers(store) == []


def test_the_record_says_what_went_in(store: Workshop) -> None:
    record = json.loads((put(store).parent / "artifact.json").read_text())
    assert record["schema"] == 1
    assert record["source_digest"] == "a" * 64
    assert record["backend_version"] == "b11434"
    assert record["finished"].endswith("+00:00")


def test_what_is_not_finished_is_gone(store: Workshop) -> None:
    with store.building(INPUTS) as draft:
        draft.path.write_bytes(CONTENT)
    assert store.get(INPUTS.key) is None
    assert store.list() == []
    assert leftovers(store) == []


def test_what_a_killed_process_left_is_cleaned(store: Workshop) -> None:
    left = store.folder / INPUTS.key[:2] / f".{INPUTS.key}.building"
    left.mkdir(parents=True)
    (left / "model.gguf").write_bytes(b"half")
    with store.building(INPUTS) as draft:
        assert not draft.path.exists()
        assert draft.path.parent.is_dir()
    assert leftovers(store) == []


@pytest.mark.parametrize("damage", ["cut", "longer", "writable", "gone", "record", "moved"])
def test_a_damaged_artifact_counts_as_missing(store: Workshop, damage: str) -> None:
    path = put(store)
    if damage in ("cut", "longer"):
        path.chmod(0o644)
        path.write_bytes(CONTENT[:5] if damage == "cut" else CONTENT * 2)
        path.chmod(0o444)
    elif damage == "writable":
        path.chmod(0o644)
    elif damage == "gone":
        path.unlink()
    elif damage == "record":
        (path.parent / "artifact.json").write_text('{"quant": "Q8_0"')
    else:
        other = store.folder / "ff" / ("f" * 64)
        other.parent.mkdir()
        path.parent.rename(other)
        assert store.get("f" * 64) is None
    assert store.get(INPUTS.key) is None
    assert store.checked(INPUTS.key) is None
    assert store.list() == []
    put(store)  # and is made anew
    assert store.get(INPUTS.key) is not None


def test_an_earlier_one_stays_while_another_is_built(store: Workshop) -> None:
    put(store)
    with store.building(INPUTS) as draft:
        assert draft.artifact == store.get(INPUTS.key)
    assert store.get(INPUTS.key) is not None


def test_list_and_remove(store: Workshop) -> None:
    put(store)
    other = replace(INPUTS, quant="Q4_K_M")
    put(store, other, b"smaller")
    assert [artifact.quant for artifact in store.list()] == ["Q4_K_M", "Q8_0"]
    assert store.remove(other.key) == len(b"smaller")
    assert store.remove(other.key) == 0
    assert [artifact.quant for artifact in store.list()] == ["Q8_0"]


def test_a_hard_link_outlives_the_store(store: Workshop, tmp_path: Path) -> None:
    """As a server's blob folder holds it."""
    os.link(put(store), tmp_path / "blob")
    assert store.remove(INPUTS.key) == 0, "nothing is freed while it is there"
    assert (tmp_path / "blob").read_bytes() == CONTENT


def test_a_changed_mtime_costs_one_hash(store: Workshop) -> None:
    os.utime(put(store), (0, 0))  # Ollama's create does such to a linked blob
    told: list[tuple[object, ...]] = []
    assert store.checked(INPUTS.key, lambda *call: told.append(call)) == store.get(INPUTS.key)
    assert told == [("checking Q8_0", len(CONTENT), len(CONTENT), "bytes")]
    told.clear()
    assert store.checked(INPUTS.key, lambda *call: told.append(call)) is not None
    assert told == []


def flip_a_bit(path: Path) -> None:
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    path.chmod(0o444)


def test_a_flipped_bit_is_noticed(store: Workshop) -> None:
    flip_a_bit(put(store))
    assert store.get(INPUTS.key) is not None, "looking alone does not tell"
    assert store.checked(INPUTS.key) is None
    assert store.get(INPUTS.key) is None, "from now on it does"
    (record,) = store.records()
    assert "its sha256 is" in record.damaged
    with store.building(INPUTS) as draft:
        assert draft.artifact is None
        draft.path.write_bytes(CONTENT)
        draft.finish()
    assert store.checked(INPUTS.key) is not None


def test_a_flipped_bit_is_noticed_by_who_waited_for_the_lock(store: Workshop) -> None:
    flip_a_bit(put(store))
    with store.building(INPUTS) as draft:
        assert draft.artifact is None


def test_verify_looks_at_the_bytes_whatever_the_clock_says(store: Workshop) -> None:
    path = put(store)
    before = path.stat()
    flip_a_bit(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.checked(INPUTS.key) is not None
    (record,) = store.records()
    assert store.verify(record).damaged
    assert store.checked(INPUTS.key) is None


def test_a_record_without_an_identity_is_checked_once(store: Workshop) -> None:
    """As an earlier deployq wrote it."""
    record = put(store).parent / "artifact.json"
    content = json.loads(record.read_text())
    del content["identity"]
    record.write_text(json.dumps(content))
    assert store.get(INPUTS.key) is not None
    assert store.checked(INPUTS.key) is not None
    assert json.loads(record.read_text())["identity"][0] == len(CONTENT)


def test_nothing_written_is_an_error(store: Workshop) -> None:
    with (
        store.building(INPUTS) as draft,
        pytest.raises(ArtifactError, match="llamacpp wrote no file for Q8_0"),
    ):
        draft.finish()


def test_a_link_is_no_artifact(store: Workshop, tmp_path: Path) -> None:
    """The user's own file must not end up in a server's store."""
    (tmp_path / "source.gguf").write_bytes(CONTENT)
    with store.building(INPUTS) as draft:
        draft.path.symlink_to(tmp_path / "source.gguf")
        with pytest.raises(ArtifactError, match="is a link to another file"):
            draft.finish()
    assert (tmp_path / "source.gguf").stat().st_mode & 0o200


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    store = Workshop(tmp_path / "cache")
    with pytest.raises(DiskError, match="can't be written") as refused, store.building(INPUTS):
        pass
    assert "DEPLOYQ_CACHE_DIR" in refused.value.hint
    assert store.get(INPUTS.key) is None
    assert store.list() == []
