"""Where artifacts are made: what a backend writes becomes part of the store, or nothing does.

    <root>/artifacts/<key[:2]>/.<key>.lock
                               .<key>.building/

A file is built in a temporary folder beside its final one, checked, hashed once, flushed to the
disk, and the whole folder is renamed: it is there as a whole or not at all.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from deployq.artifacts.record import MODEL, RECORD, Record, identity_of, now, read_record
from deployq.artifacts.store import ArtifactStore, Inputs
from deployq.digests import let_the_clock_tick, sha256_file
from deployq.errors import ArtifactError, DiskError
from deployq.types import Artifact, HalfBuilt, Progress, no_progress

READ_ONLY = 0o444
KEY_CHARACTERS = 64
BUILDING = ".building"
SCRATCH = "scratch"
"""Where a conversion keeps what it needs in between: a folder named by the artifact's key."""


class Draft:
    """An artifact in the making: a backend writes `path`, then `finish` makes it final.

    `artifact` is set where there is one already.
    """

    def __init__(
        self, inputs: Inputs, folder: Path, final: Path, artifact: Artifact | None
    ) -> None:
        self.inputs = inputs
        self.path = folder / MODEL
        self.artifact = artifact
        self._folder = folder
        self._final = final

    def finish(self, seconds: float = 0.0, progress: Progress = no_progress) -> Artifact:
        """Hash the written file, make it read-only and put it in its place.

        Args:
            seconds: what making it took.

        Raises:
            ArtifactError: nothing was written, or a link.
            DiskError: the store can't be written.
        """
        self._require_own_file()
        with _disk_errors(self._final.parent):
            self.path.chmod(READ_ONLY)
            let_the_clock_tick(self.path)
            identity = identity_of(self.path)
            artifact = self._describe(seconds, progress)
            Record(artifact, self.inputs.source_digest, now(), identity).write(self._folder)
            for path in (self.path, self._folder / RECORD, self._folder):
                _flush(path)
            _discard(self._final)
            self._folder.rename(self._final)
            _flush(self._final.parent)
        self.artifact = artifact
        return artifact

    def _require_own_file(self) -> None:
        what = f"{self.inputs.quant}, made by {self.inputs.backend}"
        if self.path.is_symlink() or (self.path.exists() and self.path.stat().st_nlink > 1):
            # made read-only and linked into a server's store, it would take the user's file along
            raise ArtifactError(f"{what}, is a link to another file instead of a file of its own")
        if not self.path.is_file():
            raise ArtifactError(f"{self.inputs.backend} wrote no file for {self.inputs.quant}")

    def _describe(self, seconds: float, progress: Progress) -> Artifact:
        size = self.path.stat().st_size
        task = f"hashing {self.inputs.quant}"
        return Artifact(
            path=self._final / MODEL,
            quant=self.inputs.quant,
            key=self.inputs.key,
            digest=sha256_file(self.path, lambda done: progress(task, done, size, "bytes")),
            file_bytes=size,
            backend=self.inputs.backend,
            backend_version=self.inputs.backend_version,
            seconds=seconds,
            imatrix_digest=self.inputs.imatrix_digest,
        )


class Workshop(ArtifactStore):
    """The store, to be written to."""

    def checked(self, key: str, progress: Progress = no_progress) -> Artifact | None:
        """The artifact of this key, if its bytes are those that it was finished with.

        It is hashed only where somebody may have written to it since it last was. A damaged one
        is marked, and counts as missing from then on.
        """
        record = read_record(self.folder_of(key))
        if record is None or record.damaged:
            return None
        if identity_of(record.artifact.path) != record.identity:
            record = self.verify(record, progress)
        return None if record.damaged else record.artifact

    def verify(self, record: Record, progress: Progress = no_progress) -> Record:
        """Hash an artifact's file, whatever is known of it; what was found is noted down."""
        artifact = record.artifact
        task, size = f"checking {artifact.quant}", artifact.file_bytes
        try:
            let_the_clock_tick(artifact.path)
            identity = identity_of(artifact.path)
            found = sha256_file(artifact.path, lambda done: progress(task, done, size, "bytes"))
        except OSError as exc:
            return replace(record, damaged=f"it can't be read: {exc.strerror}")
        wrong = f"its sha256 is {found[:12]}…, it was finished as {artifact.digest[:12]}…"
        damaged = "" if found == artifact.digest else wrong
        record = replace(record, identity=identity, damaged=damaged)
        with suppress(OSError):  # what can't be noted down is hashed again
            record.write(artifact.path.parent)
        return record

    def doubt(self, key: str, progress: Progress = no_progress) -> None:
        """Hash an artifact, whatever is known of it: a link to it was found with other bytes."""
        record = read_record(self.folder_of(key))
        if record is not None and not record.damaged:
            self.verify(record, progress)

    def use(self, key: str) -> None:
        """Note that an artifact was used now."""
        with suppress(OSError):
            os.utime(self.folder_of(key) / RECORD)

    def remove(self, key: str) -> int:
        """Remove one artifact; the bytes that this frees.

        None where there was none, or where a server's store still has the same file.
        """
        final = self.folder_of(key)
        if not final.is_dir():
            return 0
        with self._lock(key):
            model = final / MODEL
            found = model.stat() if model.is_file() else None
            _discard(final)
        return found.st_size if found and found.st_nlink == 1 else 0

    @contextmanager
    def building(self, inputs: Inputs) -> Iterator[Draft]:
        """A draft of an artifact, for this process alone.

        Waits for another process that builds the same: its artifact is then the draft's own.
        What was not finished inside the block is gone after it, and so is what a killed process
        left behind.

        Raises:
            DiskError: the store can't be written.
        """
        final = self.folder_of(inputs.key)
        folder = final.parent / f".{inputs.key}{BUILDING}"
        with _disk_errors(self.folder):
            final.parent.mkdir(parents=True, exist_ok=True)
            lock = self._lock(inputs.key)
            lock.acquire()
        try:
            with _disk_errors(self.folder):
                _discard(folder)  # the lock is ours: whoever wrote it is dead
                folder.mkdir()
            yield Draft(inputs, folder, final, self.checked(inputs.key))
        finally:
            _discard(folder)
            lock.release()

    def half_built(self) -> list[HalfBuilt]:
        """What is being built, and what killed processes left of their builds."""
        found = []
        for folder in self._half_built():
            key = _key_of(folder)
            with self._lock_now(key) as dead:
                if folder.exists():
                    found.append(HalfBuilt(key, folder, _bytes_in(folder), not dead))
        return found

    def clear_half_built(self, one: Path | None = None) -> list[HalfBuilt]:
        """Remove what killed processes left; what a living one builds stays.

        Args:
            one: this folder alone.
        """
        gone = []
        for folder in self._half_built() if one is None else [one]:
            key = _key_of(folder)
            with self._lock_now(key) as dead:
                if dead and folder.exists():
                    gone.append(HalfBuilt(key, folder, _bytes_in(folder)))
                    _discard(folder)
        return gone

    def _half_built(self) -> list[Path]:
        """Folders of artifacts in the making, and what a conversion needs in between."""
        scratch = (self.folder.parent / SCRATCH).glob("*")
        return [
            *self.folder.glob(f"*/.*{BUILDING}"),
            *(folder for folder in scratch if len(folder.name) == KEY_CHARACTERS),
        ]

    def _lock(self, key: str) -> FileLock:
        return FileLock(self.folder / key[:2] / f".{key}.lock")

    @contextmanager
    def _lock_now(self, key: str) -> Iterator[bool]:
        """Whether nobody builds an artifact; if so, nobody does inside the block.

        The system frees the lock of a process that was killed.
        """
        lock = self._lock(key)
        try:
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except (Timeout, OSError):
            yield False
            return
        try:
            yield True
        finally:
            lock.release()


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise DiskError(
            f"the artifact store {folder} can't be written: {exc.strerror or exc}",
            hint="free some room there, or set DEPLOYQ_CACHE_DIR to another folder",
        ) from exc


def _key_of(folder: Path) -> str:
    return folder.name.removeprefix(".").removesuffix(BUILDING)


def _bytes_in(folder: Path) -> int:
    """Bytes of the files below a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_size if path.is_file() else 0
    return total


def _discard(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
