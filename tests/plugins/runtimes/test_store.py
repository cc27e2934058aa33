"""The store on disk: what is there after a crash, and what is cleaned up."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from deployq_runtimes.server.errors import ApiError
from deployq_runtimes.server.model import load_model
from deployq_runtimes.server.names import Name, parse_name
from deployq_runtimes.server.store import CONFIG_MEDIA, MEDIA, Layer, Manifest, Store

from tests.tiny import write_tiny_llama


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def put(store: Store, name: str, **texts: str) -> Name:
    """A tag with these text layers."""
    layers = []
    for kind, text in texts.items():
        digest, _ = store.add(text.encode())
        layers.append(Layer(MEDIA + kind, digest, len(text)))
    config, _ = store.add(b"{}")
    parsed = parse_name(name)
    store.write(parsed, Manifest(Layer(CONFIG_MEDIA, config, 2), tuple(layers)))
    return parsed


def test_a_tag_is_read_as_it_was_written(store: Store) -> None:
    name = put(store, "space/a:b", system="be", license="mine")
    manifest = store.read(name)
    file = store.manifests / "registry.ollama.ai" / "space" / "a" / "b"
    assert manifest.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert [layer.kind for layer in manifest.layers] == ["system", "license"]
    assert manifest.size == 2 + 4 + 2
    assert json.loads(file.read_text())["schemaVersion"] == 2


def test_shared_layers_stay_and_own_ones_go(store: Store) -> None:
    first = put(store, "a", system="shared", license="only a")
    put(store, "b", system="shared")
    store.delete(first)
    blobs = {path.read_text() for path in store.blobs.iterdir()}
    assert blobs == {"shared", "{}"}
    with pytest.raises(FileNotFoundError):
        store.read(first)
    assert [name.short for name in store.names()] == ["b:latest"]


def test_empty_folders_go_with_the_last_tag(store: Store) -> None:
    store.delete(put(store, "space/a:b", system="x"))
    assert list(store.manifests.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "EOF"),
        ('{"schemaVersion":2,"lay', "unexpected EOF"),
        ("{}", "damaged"),
        ("[]", "damaged"),
    ],
)
def test_a_damaged_manifest_hides_its_tag_only(store: Store, content: str, text: str) -> None:
    name, other = put(store, "a", system="x"), put(store, "b", system="y")
    (store.manifests / name.path).write_text(content)
    with pytest.raises(ApiError, match=text):
        store.read(name)
    assert [found.short for found, _ in store.readable()] == [other.short]
    put(store, "a", system="again")
    assert store.read(name).of_kind("system")


def test_nothing_strange_is_taken_for_a_tag(store: Store) -> None:
    name = put(store, "a", system="x")
    for stray in (".DS_Store", "a b", "x~"):
        (store.manifests / name.path).with_name(stray).write_text("{}")
    assert store.names() == [name]


@pytest.mark.parametrize("digest", ["", "sha256:abc", "sha256:../../x", "md5:" + "0" * 64])
def test_a_blob_path_never_leaves_the_folder(store: Store, digest: str) -> None:
    with pytest.raises(ApiError, match="invalid digest format"):
        store.blob(digest)


def test_copying_a_tag_to_itself_keeps_it(store: Store) -> None:
    name = put(store, "a", system="x")
    before = store.read(name)
    store.copy(name, name)
    assert store.read(name) == before
    with pytest.raises(FileNotFoundError):
        store.copy(parse_name("none"), name)


def test_an_adapter_from_before_0_34_1_is_not_run_without_it(store: Store, tmp_path: Path) -> None:
    gguf = write_tiny_llama(tmp_path / "t.gguf")
    digest, _ = store.add(gguf.read_bytes())
    config, _ = store.add(b'{"model_format":"gguf"}')
    name = parse_name("lora")
    layers = (
        Layer(f"{MEDIA}model", digest, gguf.stat().st_size, "t.gguf"),
        Layer(f"{MEDIA}adapter", config, 2),
    )
    store.write(name, Manifest(Layer(CONFIG_MEDIA, config, 23), layers))
    model = load_model(store, name)
    assert model.info.architecture == "llama"
    with pytest.raises(ApiError, match="adapter") as caught:
        model.check_runnable()
    assert caught.value.status == 501
