"""The store of finished GGUF files, each under the sha256 of what went into it.

    <root>/artifacts/<key[:2]>/<key>/model.gguf      read-only
                                     artifact.json   what it is, and what went into it

Looking into it takes no lock: an artifact is there as a whole or not at all (workshop.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployq.digests import sha256_bytes
from deployq.types import Artifact

MODEL = "model.gguf"
RECORD = "artifact.json"


def artifact_key(
    source_digest: str,
    quant: str,
    backend: str,
    backend_version: str,
    extras: Mapping[str, str] | None = None,
) -> str:
    """Hex sha256 of what an artifact is made from.

    Args:
        source_digest: hex sha256 of the source's bytes.
        extras: whatever else changes the output, such as the digest of an importance matrix.
    """
    inputs = {
        "source": source_digest,
        "quant": quant,
        "backend": backend,
        "backend_version": backend_version,
        **{f"extra:{name}": value for name, value in (extras or {}).items()},
    }
    return sha256_bytes(json.dumps(inputs, sort_keys=True))


@dataclass(frozen=True)
class Inputs:
    """What an artifact is made from; `key` names it."""

    source_digest: str
    quant: str
    backend: str
    backend_version: str

    @property
    def key(self) -> str:
        return artifact_key(self.source_digest, self.quant, self.backend, self.backend_version)


class ArtifactStore:
    """Finished artifacts below `root`."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "artifacts"

    def get(self, key: str) -> Artifact | None:
        """The artifact of this key, if it is there as it was finished; nothing is hashed.

        One whose file was taken away, cut or made writable counts as missing.
        """
        return read_record(self.folder_of(key))

    def list(self) -> list[Artifact]:
        """Every artifact, by quant and key."""
        found = (read_record(path.parent) for path in self.folder.glob(f"*/*/{RECORD}"))
        return sorted((a for a in found if a is not None), key=lambda a: (a.quant, a.key))

    def folder_of(self, key: str) -> Path:
        """Where the artifact of this key is, or would be."""
        return self.folder / key[:2] / key


def read_record(folder: Path) -> Artifact | None:
    """The artifact in its folder; None where it isn't as it was finished."""
    model = folder / MODEL
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        stat = model.stat()
        artifact = Artifact(
            path=model,
            quant=record["quant"],
            key=record["key"],
            digest=record["digest"],
            file_bytes=record["file_bytes"],
            backend=record["backend"],
            backend_version=record["backend_version"],
            seconds=record["seconds"],
            reused=True,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = stat.st_size == artifact.file_bytes and not stat.st_mode & 0o222
    return artifact if whole and artifact.key == folder.name else None
