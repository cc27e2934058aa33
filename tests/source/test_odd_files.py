"""Pipes, folders, devices and links to nothing in place of a model's files: refused, not read."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from deployq.errors import DeployqError, SourceError
from deployq.source.finding import find_source
from deployq.source.gguf import read_header
from deployq.source.inspect import inspect
from deployq.source.preflight import check_folder
from tests.nasty import guarded, raised, write_json
from tests.source.gguf_files import write_llama
from tests.source.hf_files import LLAMA_CONFIG, llama_stored, write_folder


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # an address has 107 bytes at most
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)
    os.chdir(here)


ODD: dict[str, Callable[[Path], None]] = {
    "a folder": lambda path: path.mkdir(),
    "a named pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket": _socket,
    "is gone": lambda path: path.symlink_to("../../blobs/0123456789abcdef"),
    "leads back": lambda path: path.symlink_to(path.name),
    "empty": lambda path: path.touch(),
}
FILES = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
    "model.safetensors", "chat_template.jinja", "model.safetensors.index.json", "tokenizer.model",
)  # fmt: skip

# Beside a whole model.safetensors an index that tells nothing is a stale one.
MAY_BE_ODD = ("chat_template.jinja", "tokenizer.model", "model.safetensors.index.json")


def read_all(folder: Path) -> None:
    found = find_source(folder)
    inspect(found.path)
    list(check_folder(found.path))


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", FILES)
def test_an_odd_file_of_a_model_ends_in_time(tmp_path: Path, name: str, kind: str) -> None:
    folder = write_folder(tmp_path / "m", LLAMA_CONFIG, llama_stored())
    for one in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        write_json(folder / one, {})
    (folder / name).unlink(missing_ok=True)
    ODD[kind](folder / name)
    with guarded():
        refused = raised(lambda: read_all(folder), DeployqError)
    if refused is None:
        assert name in MAY_BE_ODD, "read as if it were right"
        assert kind not in ("is gone", "leads back")
    else:
        assert str(folder) in refused.message


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_file_in_place_of_a_gguf(tmp_path: Path, kind: str) -> None:
    ODD[kind](tmp_path / "model.gguf")
    for read in (read_header, inspect, lambda path: inspect(find_source(path.parent).path)):
        with guarded(), pytest.raises(DeployqError) as refused:
            read(tmp_path / "model.gguf")
        assert "model.gguf" in refused.value.message


def test_a_snapshot_whose_blob_is_gone(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--tuned" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    write_folder(snapshot, LLAMA_CONFIG, llama_stored())
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to("../../blobs/4f2a")
    with pytest.raises(SourceError, match=r"model\.safetensors: is a link to .*4f2a") as refused:
        find_source(snapshot)
    assert refused.value.hint.startswith("hf download org/tuned")


def test_links_upwards_are_not_followed_for_ever(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_llama(tmp_path / "out" / "model.gguf")
    for name in "abcdefgh":
        (tmp_path / "out" / name).symlink_to("/")
        (tmp_path / "out" / f"up-{name}").symlink_to("..")
    with guarded():
        found = find_source(tmp_path / "out")
    assert found.path.name == "model.gguf"
    assert not found.passed_over
