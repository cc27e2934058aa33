"""sha256 of files, computed once: a digest is remembered by path, size, mtime and inode."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from deployq.files import open_regular

CHUNK_BYTES = 4 << 20
TICK_NS = 20_000_000


def sha256_bytes(content: bytes | str) -> str:
    """Hex sha256 of bytes, or of the UTF-8 of a text."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def sha256_file(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """Hex sha256 of a file's bytes; `on_bytes` is told how many were read so far."""
    digest, done = hashlib.sha256(), 0
    with open_regular(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            if on_bytes is not None:
                on_bytes(done)
    return digest.hexdigest()


class DigestCache:
    """Remembers digests of files in a folder, one small JSON file each.

    An entry counts only while the file's size, mtime (ns) and inode are what they were.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sha256(self, path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
        """Hex sha256 of `path`, from memory where the file is unchanged."""
        if known := self.known(path):
            return known
        let_the_clock_tick(path)
        entry, identity = self._entry(path)
        digest = sha256_file(path, on_bytes)
        if self._entry(path)[1] == identity:  # else it was written to while it was read
            self._remember(entry, {"file": identity, "sha256": digest})
        return digest

    def known(self, path: Path) -> str | None:
        """The remembered digest of an unchanged file; nothing is hashed."""
        entry, identity = self._entry(path)
        found = _read(entry)
        return str(found["sha256"]) if found and found.get("file") == identity else None

    def remember(self, path: Path, digest: str) -> None:
        """Note the digest of a file that somebody hashed already."""
        entry, identity = self._entry(path)
        self._remember(entry, {"file": identity, "sha256": digest})

    def _remember(self, entry: Path, content: Mapping[str, object]) -> None:
        with contextlib.suppress(OSError):  # what can't be remembered is hashed again
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = entry.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(json.dumps(content))
            temporary.replace(entry)

    def _entry(self, path: Path) -> tuple[Path, list[str | int]]:
        path = path.resolve()
        stat = path.stat()
        identity: list[str | int] = [str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino]
        return self.folder / f"{sha256_bytes(str(path))[:32]}.json", identity


def let_the_clock_tick(path: Path) -> None:
    """Wait until a write from now on must change the file's mtime.

    File systems stamp files by the kernel's tick, up to 10 ms: two writes within one look alike.
    """
    age = time.time_ns() - path.stat().st_mtime_ns
    if 0 <= age < TICK_NS:
        time.sleep((TICK_NS - age) / 1e9)


def _read(entry: Path) -> dict[str, object] | None:
    try:
        content = json.loads(entry.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "sha256" in content else None
