"""What stands beside a finished artifact: what it is, what went into it, and its file's identity.

The identity (size, mtime in ns, inode) is that of the file when it was hashed last. While it is
the same nobody wrote to it, so nothing is hashed again.
"""

from __future__ import annotations

import dataclasses
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deployq.records import dataclass
from deployq.types import Artifact

MODEL = "model.gguf"
RECORD = "artifact.json"
SCHEMA = 1
WRITE_BITS = 0o222


@dataclass(frozen=True)
class Record:
    """One artifact as its folder tells of it.

    `finished` is UTC, ISO 8601. `damaged` is what is wrong with its file, "" if nothing is known.
    """

    artifact: Artifact
    source_digest: str
    finished: str
    identity: tuple[int, ...] = ()
    damaged: str = ""

    def write(self, folder: Path) -> None:
        """Write it into the artifact's folder, at one stroke."""
        content = {
            "schema": SCHEMA,
            **{
                k: v
                for k, v in dataclasses.asdict(self.artifact).items()
                if k not in ("path", "reused")
            },
            "source_digest": self.source_digest,
            "finished": self.finished,
            "identity": list(self.identity),
            **({"damaged": self.damaged} if self.damaged else {}),
        }
        temporary = folder / f".{RECORD}.{os.getpid()}"
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        temporary.replace(folder / RECORD)


def identity_of(path: Path) -> tuple[int, ...]:
    """Size, mtime in ns, and inode of a file."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_record(folder: Path) -> Record | None:
    """What is recorded of the artifact in a folder; None: nothing that can be read.

    Of a file that is gone, cut or writable `damaged` says so; its bytes are not looked at.
    """
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        artifact = _artifact(content, folder / MODEL)
        identity = tuple(map(int, content.get("identity", ())))
        known = str(content.get("damaged", ""))
        record = Record(artifact, content["source_digest"], content["finished"], identity, known)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return dataclasses.replace(record, damaged=record.damaged or _fault(artifact, folder))


def _artifact(content: dict[str, Any], path: Path) -> Artifact:
    return Artifact(
        path=path,
        quant=content["quant"],
        key=content["key"],
        digest=content["digest"],
        file_bytes=content["file_bytes"],
        backend=content["backend"],
        backend_version=content["backend_version"],
        seconds=content["seconds"],
        imatrix_digest=content.get("imatrix_digest", ""),
        reused=True,
    )


def _fault(artifact: Artifact, folder: Path) -> str:
    if artifact.key != folder.name:
        return "it is that of another key"
    try:
        found = artifact.path.stat()
    except OSError as exc:
        return f"its file can't be read: {exc.strerror}"
    if found.st_size != artifact.file_bytes:
        return f"it has {found.st_size:,} bytes instead of {artifact.file_bytes:,}"
    if found.st_mode & WRITE_BITS:
        return "its file is writable: somebody may have changed it"
    return ""
