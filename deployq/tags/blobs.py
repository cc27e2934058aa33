"""Weights into a server's store: linked where that is on this machine, else uploaded.

A server takes a file under `blobs/sha256-<hex>` as present and never hashes it; so only an artifact
of deployq's own is linked, which was hashed when it was finished and is written by nobody since.
`create` stamps the file anew (`touchLayer` in Ollama's manifest/layer.go), which only the file's
owner may do: a link that the server does not own would make every create fail.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

from deployq.digests import sha256_file
from deployq.errors import ArtifactError, ServerRefused
from deployq.records import dataclass
from deployq.types import Artifact, Progress, no_progress

if sys.platform == "linux":
    import fcntl

# <linux/fs.h>: _IOW(0x94, 9, int)
FICLONE = 0x40049409
WRITE_BITS = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH

How = Literal["present", "reflinked", "hard-linked", "uploaded"]


class BlobServer(Protocol):
    """The part of a server that takes blobs; digests are hex sha256."""

    url: str

    def has_blob(self, digest: str) -> bool: ...
    def upload_blob(self, path: Path, digest: str, progress: Progress) -> bool: ...


@dataclass(frozen=True)
class Placed:
    """How a server came by a blob; `detail` says why it was not linked.

    `moved_bytes` went over the network.
    """

    how: How
    moved_bytes: int = 0
    detail: str = ""


def place_blob(
    server: BlobServer,
    models_dir: Path | None,
    artifact: Artifact,
    progress: Progress = no_progress,
) -> Placed:
    """See to it that a server has an artifact's bytes, with as little work as possible.

    Args:
        models_dir: where the server keeps its models, if that is thought to be on this machine;
            None: never link. Whether it really is that server's, the server is asked.

    Raises:
        ArtifactError: the artifact's bytes are not those that it was finished with.
        ServerError: the server can't be asked, or does not take the upload.
    """
    if server.has_blob(artifact.digest):
        if models_dir is not None:
            _mend(models_dir / "blobs", artifact, progress)
        return Placed("present")
    why = "the server is on another machine"
    if models_dir is not None:
        how, why = _link(server, models_dir / "blobs", artifact)
        if how is not None:
            return Placed(how)
    if not _upload(server, artifact, progress):
        return Placed("present")
    return Placed("uploaded", artifact.file_bytes, why)


@contextlib.contextmanager
def mtime_kept(path: Path) -> Iterator[None]:
    """Give a file its modification time back after the block: a create stamps what is linked.

    By that time deployq tells that a file was not written to since it was hashed.
    """
    before = path.stat()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # else the file is hashed again, no more
            if path.stat().st_mtime_ns != before.st_mtime_ns:
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def why_not_linked(models_dir: Path, folder: Path) -> str:
    """Why files of `folder` can't be linked into a server's store, as far as looking tells.

    Neither needs to exist yet. Nothing is written; "" means that it should work.
    """
    blobs, source = _nearest(models_dir / "blobs"), _nearest(folder)
    effective = os.access in os.supports_effective_ids
    if not os.access(blobs, os.W_OK | os.X_OK, effective_ids=effective):
        return f"{blobs} can't be written"
    there, here = blobs.stat(), source.stat()
    if there.st_dev != here.st_dev:
        return f"{blobs} is on another file system"
    return _not_the_servers(there, os.geteuid())


# ---------------------------------------------------------------- linking


def _link(server: BlobServer, blobs: Path, artifact: Artifact) -> tuple[How | None, str]:
    """Link an artifact in and ask the server whether it sees it; else why not."""
    blob = blobs / f"sha256-{artifact.digest}"
    try:
        source = artifact.path.lstat()
        folder = blobs.stat()
        if why := _not_linkable(source):
            return None, why
        how = _reflink(artifact.path, blob, folder)
        if how is None:
            if why := _not_the_servers(folder, source.st_uid):
                return None, why
            os.link(artifact.path, blob, follow_symlinks=False)
            how = "hard-linked"
        mine = blob.lstat()
    except OSError as exc:
        return None, f"{blobs} takes no link: {exc.strerror or exc}"
    seen = False
    try:
        seen = server.has_blob(artifact.digest)
    finally:
        if not seen:
            _take_away(blob, mine)
    return (how, "") if seen else (None, f"{blobs} is not the folder of {server.url}")


def _mend(blobs: Path, artifact: Artifact, progress: Progress) -> None:
    """Put an artifact in place of a blob of that name that was cut, or has other bytes.

    It is hashed only beside an artifact that was made just now: the one before may have been
    damaged, and where it was linked the server's store has the same file.
    """
    blob = blobs / f"sha256-{artifact.digest}"
    with contextlib.suppress(OSError):  # not ours to read or to write: verification will tell
        found = blob.lstat()
        if not stat.S_ISREG(found.st_mode) or os.path.samestat(found, artifact.path.stat()):
            return
        size, task = found.st_size, f"checking the server's {artifact.quant}"
        if size == artifact.file_bytes and (
            artifact.reused
            or sha256_file(blob, lambda done: progress(task, done, size, "bytes"))
            == artifact.digest
        ):
            return
        fresh = blob.with_name(f"{blob.name}-{os.getpid()}-partial")
        if _reflink(artifact.path, fresh, blobs.stat()) is None:
            os.link(artifact.path, fresh)
        fresh.replace(blob)


def _not_linkable(source: os.stat_result) -> str:
    if not stat.S_ISREG(source.st_mode) or source.st_mode & WRITE_BITS:
        return "only a read-only file of deployq's own is linked"
    return ""


def _not_the_servers(folder: os.stat_result, owner: int) -> str:
    """Why a server that owns `folder` could not stamp a file of this owner."""
    # root's server may stamp anything; whose server it is, its folder tells
    if folder.st_uid in (owner, 0):
        return ""
    return "the server runs as another user, who could not use the link"


def _reflink(source: Path, blob: Path, folder: os.stat_result) -> How | None:
    """A copy that shares its blocks, until one of them is written; None: can't be made here."""
    if sys.platform != "linux":
        return None
    handle, name = tempfile.mkstemp(dir=blob.parent, prefix=f"{blob.name}-", suffix="-partial")
    temporary = Path(name)
    try:
        try:
            with source.open("rb") as original:
                fcntl.ioctl(handle, FICLONE, original.fileno())
            os.fchmod(handle, 0o444)
            if os.fstat(handle).st_uid != folder.st_uid:
                os.fchown(handle, folder.st_uid, folder.st_gid)
        except OSError:
            return None
        finally:
            os.close(handle)
        os.link(temporary, blob)  # unlike a rename, never over what stands there
    finally:
        temporary.unlink()
    return "reflinked"


def _take_away(blob: Path, mine: os.stat_result) -> None:
    """Remove a link of ours, unless something else stands there by now."""
    with contextlib.suppress(OSError):
        if os.path.samestat(blob.lstat(), mine):
            blob.unlink()


def _nearest(path: Path) -> Path:
    path = path.absolute()
    return next(p for p in (path, *path.parents) if p.is_dir())


# ---------------------------------------------------------------- uploading


def _upload(server: BlobServer, artifact: Artifact, progress: Progress) -> bool:
    """Upload; whether there was something to upload. Bytes that got lost are sent once more."""
    try:
        return server.upload_blob(artifact.path, artifact.digest, progress)
    except ServerRefused as exc:
        if "digest mismatch" not in exc.message:
            raise
        _require_whole(artifact, exc)
    return server.upload_blob(artifact.path, artifact.digest, progress)


def _require_whole(artifact: Artifact, refused: ServerRefused) -> None:
    found = sha256_file(artifact.path)
    if found != artifact.digest:
        raise ArtifactError(
            f"{artifact.path}, the {artifact.quant} that deployq made, is damaged: its sha256 is "
            f"{found[:12]}…, it was finished as {artifact.digest[:12]}…",
            hint="deployq cache --verify marks it, then push again",
        ) from refused
