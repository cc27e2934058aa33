"""Weights come into a server's store by a link where that can be, else by an upload."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from deployq import Endpoint
from deployq.errors import ArtifactError, ServerError, ServerRefused
from deployq.tags.blobs import mtime_kept, place_blob, why_not_linked
from deployq.tags.modelfile import Modelfile
from deployq.tags.server import Server
from deployq.types import Artifact
from tests import small_disks
from tests.ollama_fixtures import running_ollama
from tests.tags.conftest import artifact_of, keeps_weights
from tests.tags.small_ollama import SmallOllama, small_ollama
from tests.tiny import write_tiny_llama

NOBODY = 65534


@pytest.fixture
def artifact(tmp_path: Path, tiny: Artifact) -> Artifact:
    """A read-only artifact of this test's own."""
    path = tmp_path / "store" / "model.gguf"
    path.parent.mkdir()
    shutil.copy(tiny.path, path)
    path.chmod(0o444)
    return replace(tiny, path=path)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "blobs").mkdir(parents=True)
    return folder


@pytest.fixture
def small(models: Path) -> Iterator[SmallOllama]:
    with small_ollama() as ollama:
        ollama.models = models
        yield ollama


@pytest.fixture
def server(small: SmallOllama) -> Iterator[Server]:
    with Server(small.url) as client:
        yield client


def blob_of(models: Path, artifact: Artifact) -> Path:
    return models / "blobs" / f"sha256-{artifact.digest}"


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def uploads(small: SmallOllama) -> int:
    return sum(line.startswith("POST /api/blobs") for line in small.log)


# ---------------------------------------------------------------- links


def test_linked_on_one_machine(
    server: Server, small: SmallOllama, models: Path, artifact: Artifact
) -> None:
    assert why_not_linked(models, artifact.path.parent) == ""
    placed = place_blob(server, models, artifact)
    assert (placed.how, placed.moved_bytes, placed.detail) == ("hard-linked", 0, "")
    assert blob_of(models, artifact).samefile(artifact.path)
    assert uploads(small) == 0
    assert names(models / "blobs") == [f"sha256-{artifact.digest}"]
    assert place_blob(server, models, artifact).how == "present"


def test_what_the_server_has_is_left_alone(
    server: Server, models: Path, artifact: Artifact
) -> None:
    shutil.copy(artifact.path, blob_of(models, artifact))
    assert place_blob(server, models, artifact).how == "present"
    assert not blob_of(models, artifact).samefile(artifact.path)


def test_a_folder_that_is_another_servers_is_left_as_it_was(
    server: Server, small: SmallOllama, models: Path, artifact: Artifact
) -> None:
    small.models = None
    placed = place_blob(server, models, artifact)
    assert placed.how == "uploaded"
    assert placed.moved_bytes == artifact.file_bytes
    assert placed.detail == f"{models / 'blobs'} is not the folder of {server.url}"
    assert names(models / "blobs") == []
    assert artifact.path.stat().st_nlink == 1


def test_a_damaged_blob_is_mended_by_an_artifact_that_was_made_anew(
    server: Server, models: Path, artifact: Artifact
) -> None:
    """It was linked, and so it is as damaged in the server's store as the artifact was."""
    blob = blob_of(models, artifact)
    content = bytearray(artifact.path.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    assert place_blob(server, models, replace(artifact, reused=True)).how == "present"
    assert not blob.samefile(artifact.path), "what was not made anew is not looked at"
    assert place_blob(server, models, artifact).how == "present"
    assert blob.samefile(artifact.path)
    assert names(models / "blobs") == [blob.name]


@pytest.mark.parametrize("kind", ["file", "dangling", "folder"])
def test_what_stands_in_another_servers_folder_stays(
    server: Server, small: SmallOllama, models: Path, artifact: Artifact, kind: str
) -> None:
    small.models = None
    blob = blob_of(models, artifact)
    if kind == "file":
        blob.write_bytes(b"theirs")
    elif kind == "dangling":
        blob.symlink_to(models / "nowhere")
    else:
        blob.mkdir()
    before = blob.lstat()
    placed = place_blob(server, models, artifact)
    assert (placed.how, uploads(small)) == ("uploaded", 1)
    assert "File exists" in placed.detail
    assert os.path.samestat(blob.lstat(), before)
    assert names(models / "blobs") == [blob.name]


def test_a_server_that_dies_meanwhile_keeps_no_link(
    small: SmallOllama, models: Path, artifact: Artifact
) -> None:
    path = f"/api/blobs/sha256:{artifact.digest}"

    class Dying(Server):
        def has_blob(self, digest: str) -> bool:
            if blob_of(models, artifact).exists():
                small.fail[path] = (500, {"error": "it died"})
            return super().has_blob(digest)

    with Dying(small.url) as dying, pytest.raises(ServerError):
        place_blob(dying, models, artifact)
    assert names(models / "blobs") == []


def test_only_a_read_only_file_is_linked(
    server: Server, models: Path, artifact: Artifact, tmp_path: Path
) -> None:
    artifact.path.chmod(0o644)
    placed = place_blob(server, models, artifact)
    assert (placed.how, artifact.path.stat().st_nlink) == ("uploaded", 1)
    assert "read-only" in placed.detail
    artifact.path.chmod(0o444)
    link = tmp_path / "users.gguf"
    link.symlink_to(artifact.path)
    server_less = replace(artifact, path=link)
    with small_ollama() as other, Server(other.url) as client:
        other.models = models
        assert place_blob(client, models, server_less).how == "uploaded"
    assert names(models / "blobs") == []


# ---------------------------------------------------------------- folders that take no link


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A models folder on a file system of its own, 1 MiB large."""
    with small_disks.mounted(tmp_path / "mounted", "1m") as folder:
        (folder / "blobs").mkdir()
        yield folder


def test_another_file_system(
    server: Server, small: SmallOllama, mounted: Path, artifact: Artifact
) -> None:
    small.models = mounted
    assert "on another file system" in why_not_linked(mounted, artifact.path.parent)
    placed = place_blob(server, mounted, artifact)
    assert (placed.how, uploads(small)) == ("uploaded", 1)
    assert "cross-device" in placed.detail
    assert names(mounted / "blobs") == []


def test_a_full_file_system(
    server: Server, small: SmallOllama, mounted: Path, artifact: Artifact
) -> None:
    small.models = mounted
    with pytest.raises(OSError, match="No space left"):
        (mounted / "fill").write_bytes(bytes(2 << 20))
    assert place_blob(server, mounted, artifact).how == "uploaded"
    assert names(mounted / "blobs") == []


def test_a_read_only_file_system(
    server: Server, small: SmallOllama, mounted: Path, artifact: Artifact
) -> None:
    small.models = mounted
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    assert "can't be written" in why_not_linked(mounted, artifact.path.parent)
    placed = place_blob(server, mounted, artifact)
    assert (placed.how, uploads(small)) == ("uploaded", 1)
    assert "Read-only file system" in placed.detail


def test_no_permission(
    server: Server,
    small: SmallOllama,
    models: Path,
    artifact: Artifact,
) -> None:
    """As a user who may read the store of the server, but not write there."""
    shared = Path(tempfile.gettempdir())
    for folder in models.parents:
        if folder != shared and folder.is_relative_to(shared):
            folder.chmod(0o755)
    (models / "blobs").chmod(0o555)
    user = os.geteuid()
    os.seteuid(user or NOBODY)  # root may write anywhere
    try:
        assert "can't be written" in why_not_linked(models, artifact.path.parent)
        placed = place_blob(server, models, artifact)
    finally:
        os.seteuid(user)
        (models / "blobs").chmod(0o755)
    assert (placed.how, uploads(small)) == ("uploaded", 1)
    assert "ermission denied" in placed.detail


def test_a_server_of_another_user_gets_no_hard_link(
    server: Server, small: SmallOllama, models: Path, artifact: Artifact
) -> None:
    """It could not stamp a file that is not its own, and every create would fail."""
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    os.chown(models / "blobs", NOBODY, NOBODY)
    assert "another user" in why_not_linked(models, artifact.path.parent)
    placed = place_blob(server, models, artifact)
    assert (placed.how, uploads(small)) == ("uploaded", 1)
    assert "another user" in placed.detail


def test_no_folder_at_all(server: Server, small: SmallOllama, artifact: Artifact) -> None:
    placed = place_blob(server, Path("/nonexistent/models"), artifact)
    assert (placed.how, uploads(small)) == ("uploaded", 1)
    assert place_blob(server, None, artifact).how == "present"


def test_blocks_are_shared_where_the_file_system_can(tmp_path: Path, tiny: Artifact) -> None:
    """On a file system with reflinks the blob is a file of its own that shares its blocks."""
    image, folder = tmp_path / "disk.img", tmp_path / "disk"
    folder.mkdir()
    image.write_bytes(b"")
    os.truncate(image, 320 << 20)
    for command in (
        ["mkfs.xfs", "-q", str(image)],
        ["mount", "-o", "loop", str(image), str(folder)],
    ):
        if not shutil.which(command[0]) or subprocess.run(command, check=False).returncode:
            pytest.skip("no file system with reflinks can be made here")
    try:
        path = folder / "model.gguf"
        shutil.copy(tiny.path, path)
        path.chmod(0o444)
        (folder / "models" / "blobs").mkdir(parents=True)
        with small_ollama() as small, Server(small.url) as server:
            small.models = folder / "models"
            assert place_blob(server, small.models, replace(tiny, path=path)).how == "reflinked"
        blob = blob_of(folder / "models", tiny)
        assert names(blob.parent) == [blob.name]
        assert blob.read_bytes() == path.read_bytes()
        assert blob.stat().st_ino != path.stat().st_ino
        assert not blob.stat().st_mode & 0o222
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


# ---------------------------------------------------------------- uploads


def test_an_upload_tells_of_its_bytes(server: Server, artifact: Artifact) -> None:
    told: list[tuple[float, float | None, str]] = []
    place_blob(
        server, None, artifact, lambda _, done, total, unit: told.append((done, total, unit))
    )
    assert told[-1] == (artifact.file_bytes, artifact.file_bytes, "bytes")
    told.clear()
    place_blob(server, None, artifact, lambda *_: told.append((0, 0, "")))
    assert told == [], "the server has it: nothing moves"


def test_a_damaged_artifact_is_named(server: Server, artifact: Artifact) -> None:
    content = bytearray(artifact.path.read_bytes())
    content[-1] ^= 1
    artifact.path.chmod(0o644)
    artifact.path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"is damaged: its sha256 is [0-9a-f]{12}") as caught:
        place_blob(server, None, artifact)
    assert "then push again" in caught.value.hint


def test_bytes_that_got_lost_are_sent_once_more(
    server: Server, small: SmallOllama, artifact: Artifact
) -> None:
    path = f"/api/blobs/sha256:{artifact.digest}"
    small.fail_once[f"POST {path}"] = (400, {"error": "digest mismatch, expected ..., got ..."})
    assert place_blob(server, None, artifact).how == "uploaded"
    assert uploads(small) == 2
    with small_ollama() as broken, Server(broken.url) as client:
        broken.fail[path] = (404, None)  # it says so to HEAD and POST
        with pytest.raises(ServerRefused):
            place_blob(client, None, artifact)


# ---------------------------------------------------------------- the real thing


@pytest.mark.ollama
def test_a_real_ollama_takes_the_link_and_leaves_the_artifact_whole(
    real_ollama: Endpoint, artifact: Artifact
) -> None:
    assert real_ollama.models_dir is not None
    # a server before 0.34.1 leaves what other tests uploaded
    blob_of(real_ollama.models_dir, artifact).unlink(missing_ok=True)
    before = artifact.path.stat()
    with Server(real_ollama.url) as server:
        placed = place_blob(server, real_ollama.models_dir, artifact)
        assert placed.how in ("hard-linked", "reflinked")
        with mtime_kept(artifact.path):
            server.create("linked:f16", Modelfile("t.gguf"), {"t.gguf": artifact.digest})
        assert artifact.path.stat().st_mtime_ns == before.st_mtime_ns
        assert artifact_of(artifact.path).digest == artifact.digest
        assert not artifact.path.stat().st_mode & 0o222
        shown = server.show("linked:f16").blob_digest
        assert not keeps_weights(server) or shown == artifact.digest
        server.copy("linked:f16", "linked:again")
        server.delete("linked:f16")
        assert server.show("linked:again").blob_digest == shown
        server.delete("linked:again")
        assert artifact.path.stat().st_size == before.st_size
        blob_of(real_ollama.models_dir, artifact).unlink(missing_ok=True)


@pytest.mark.ollama
def test_create_really_stamps_the_link(real_ollama: Endpoint, artifact: Artifact) -> None:
    """What `mtime_kept` is for; where this fails, it may go."""
    assert real_ollama.models_dir is not None
    blob_of(real_ollama.models_dir, artifact).unlink(missing_ok=True)
    before = artifact.path.stat().st_mtime_ns
    with Server(real_ollama.url) as server:
        place_blob(server, real_ollama.models_dir, artifact)
        server.create("stamped:f16", Modelfile("t.gguf"), {"t.gguf": artifact.digest})
        assert artifact.path.stat().st_mtime_ns != before
        server.delete("stamped:f16")
        blob_of(real_ollama.models_dir, artifact).unlink(missing_ok=True)


@pytest.mark.ollama
def test_a_disk_that_is_full_on_the_servers_side(
    ollama_binary: Path, tmp_path: Path, mounted: Path
) -> None:
    big = write_tiny_llama(tmp_path / "big.gguf", n_layer=4, n_embd=256, n_ff=1024)
    big.chmod(0o444)
    artifact = artifact_of(big)
    assert artifact.file_bytes > 2 << 20
    with (
        running_ollama(ollama_binary, tmp_path / "run", mounted) as endpoint,
        Server(endpoint.url) as server,
    ):
        with pytest.raises(ServerRefused, match="no space left on device") as caught:
            place_blob(server, endpoint.models_dir, artifact)
        assert "deployq prune" in caught.value.hint
        left = [p for p in (mounted / "blobs").iterdir() if artifact.digest in p.name]
        assert left == []
        assert requests.get(f"{endpoint.url}/api/tags", timeout=10).json() == {"models": []}
