"""What removing tags frees, told by a store on this machine, or by the server alone."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployq import Endpoint
from deployq.tags.freed import Freed, Links, freed_by, gone_with, store_of
from deployq.tags.manifests import LocalStore
from deployq.tags.modelfile import Modelfile
from deployq.tags.names import TagName
from deployq.tags.registry import remove
from deployq.tags.server import Server
from deployq.types import Artifact
from tests.tags.small_ollama import small_ollama


class Store:
    """A models folder as Ollama lays it out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs").mkdir(parents=True)

    def blob(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs" / f"sha256-{digest}").write_bytes(content)
        return digest

    def tag(self, path: str, *contents: bytes) -> None:
        config, *layers = [{"digest": f"sha256:{self.blob(c)}", "size": len(c)} for c in contents]
        file = self.folder / "manifests" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"config": config, "layers": layers}))


LIBRARY = "registry.ollama.ai/library"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "models")
    made.tag(f"{LIBRARY}/api/q8", b"config 1", b"w" * 1000, b"system")
    made.tag(f"{LIBRARY}/api/laptop", b"config 2", b"w" * 1000, b"system")
    made.tag("registry.ollama.ai/me/other/x", b"config 3", b"v" * 500, b"system")
    made.tag("hf.co/me/far/x", b"config 4", b"u" * 10)
    return made


def freed(store: Store, *names: str) -> int:
    read = LocalStore.read(store.folder)
    return Links().drop(gone_with(read, names)).freed_bytes


def test_every_layer_counts_and_those_that_are_shared_do_not(store: Store) -> None:
    read = LocalStore.read(store.folder)
    assert [held.name for held in read.tags] == [
        "hf.co/me/far:x",
        "api:laptop",
        "api:q8",
        "me/other:x",
    ]
    assert freed(store, "api:q8") == len("config 1")
    assert freed(store, "API:Q8", "api:laptop") == 1000 + 2 * len("config 1")
    assert freed(store, "me/other:x") == 500 + len("config 3")
    assert freed(store, *[held.name for held in read.tags]) == 1510 + 4 * 8 + len("system")
    assert freed(store, "api:none") == 0


def test_a_file_with_two_names_frees_nothing_until_both_are_gone(
    store: Store, tmp_path: Path
) -> None:
    read = LocalStore.read(store.folder)
    blob = read.path(store.blob(b"v" * 500))
    artifact = tmp_path / "model.gguf"
    os.link(blob, artifact)
    links = Links()
    assert links.drop(gone_with(read, ["me/other:x"])) == Freed(len("config 3"), 500)
    assert links.drop([artifact]) == Freed(500)
    assert Links().drop([artifact]) == Freed(0, 500)
    assert Links().drop([tmp_path / "nothing"]) == Freed(0)


def test_what_no_tag_has(store: Store) -> None:
    store.blob(b"orphan")
    (store.folder / "blobs" / "sha256-123-partial").write_bytes(b"half")
    (store.folder / "blobs" / "a-folder").mkdir()
    unused = [path.name for path in LocalStore.read(store.folder).unused()]
    assert sorted(unused) == sorted(
        [f"sha256-{hashlib.sha256(b'orphan').hexdigest()}", "sha256-123-partial"]
    )


@pytest.mark.parametrize("text", ["", '{"config": {}', "[]", '{"layers": 3, "config": {}}', "{}"])
def test_a_manifest_that_says_nothing(store: Store, text: str) -> None:
    (store.folder / "manifests" / LIBRARY / "api" / "cut").write_text(text)
    read = LocalStore.read(store.folder)
    assert read.unreadable == ("api:cut",)
    assert freed(store, "api:q8") == len("config 1"), "the server takes no heed of it either"


# ------------------------------------------------------------ asked of a server


@pytest.fixture
def server(tiny: Artifact) -> Iterator[Server]:
    with small_ollama() as small, Server(small.url) as client:
        _put(client, tiny)
        yield client


def _put(server: Server, tiny: Artifact) -> None:
    server.upload_blob(tiny.path, tiny.digest)
    for name, n_ctx in (("api:f16", 512), ("api:laptop", 256)):
        server.create(name, Modelfile("m.gguf", {"num_ctx": n_ctx}), {"m.gguf": tiny.digest})
    server.copy("api:f16", "deployq-history/api:f16.1")


def test_told_by_a_server_elsewhere(server: Server, tiny: Artifact) -> None:
    held = freed_by(server, None, ["api:f16"])
    assert held == Freed(0, held_by=("api:laptop", "deployq-history/api:f16.1"))
    every = server.names()
    assert freed_by(server, None, every) == Freed(tiny.file_bytes), "shared weights count once"


def test_a_folder_that_is_another_servers(server: Server, store: Store) -> None:
    assert store_of(server, store.folder) is None
    assert store_of(server, None) is None
    assert store_of(server, store.folder / "nothing") is None
    assert freed_by(server, store.folder, ["api:f16"]).freed_bytes == 0


def test_a_server_without_tags(store: Store, tmp_path: Path) -> None:
    empty = Store(tmp_path / "empty")
    empty.blob(b"orphan")
    with small_ollama() as small, Server(small.url) as server:
        assert store_of(server, store.folder) is None, "it lists none of these tags"
        assert store_of(server, empty.folder) is None, "it has no such blob"
        small.models = empty.folder
        assert store_of(server, empty.folder) is not None


@pytest.mark.ollama
def test_a_real_ollama_frees_what_is_said(real_ollama: Endpoint, tiny: Artifact) -> None:
    models = real_ollama.models_dir
    assert models is not None
    with Server(real_ollama.url) as server:
        for name in server.names():
            server.delete(name)
        _put(server, tiny)
        assert store_of(server, models) is not None
        for name in ("api:f16", "deployq-history/api:f16.1", "api:laptop"):
            said = freed_by(server, models, [name]).freed_bytes
            before = _used(models)
            remove(server, TagName.parse(name))
            assert before - _used(models) == said
        assert said >= tiny.file_bytes


def _used(models: Path) -> int:
    return sum(path.stat().st_size for path in (models / "blobs").iterdir())
