"""The store of finished GGUF files, each under the sha256 of what went into it.

    <root>/artifacts/<key[:2]>/<key>/model.gguf      read-only
                                     artifact.json   what it is, and what went into it

Looking into it takes no lock: an artifact is there as a whole or not at all (workshop.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from deployq.artifacts.record import RECORD, Record, read_record
from deployq.digests import sha256_bytes
from deployq.records import dataclass
from deployq.types import Artifact


def artifact_key(
    source_digest: str,
    quant: str,
    backend: str,
    backend_version: str,
    imatrix: str = "",
) -> str:
    """Hex sha256 of what an artifact is made from.

    Args:
        source_digest: hex sha256 of the source's bytes.
        imatrix: hex sha256 of what its importance matrix is made from; empty: it has none.
    """
    inputs = {
        "source": source_digest,
        "quant": quant,
        "backend": backend,
        "backend_version": backend_version,
        **({"imatrix": imatrix} if imatrix else {}),
    }
    return sha256_bytes(json.dumps(inputs, sort_keys=True))


@dataclass(frozen=True)
class Inputs:
    """What an artifact is made from; `key` names it.

    `imatrix` is what its importance matrix is made from, `imatrix_digest` that of the matrix.
    """

    source_digest: str
    quant: str
    backend: str
    backend_version: str
    imatrix: str = ""
    imatrix_digest: str = ""

    @property
    def key(self) -> str:
        return artifact_key(
            self.source_digest, self.quant, self.backend, self.backend_version, self.imatrix
        )


class ArtifactStore:
    """Finished artifacts below `root`."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "artifacts"

    def get(self, key: str) -> Artifact | None:
        """The artifact of this key, if it is there as far as looking tells; nothing is hashed.

        One whose file was taken away, cut or made writable counts as missing.
        """
        record = read_record(self.folder_of(key))
        return record.artifact if record and not record.damaged else None

    def list(self) -> list[Artifact]:
        """Every artifact that is there as far as looking tells, by quant and key."""
        return [record.artifact for record in self.records() if not record.damaged]

    def records(self) -> Sequence[Record]:
        """What is recorded of every artifact, damaged ones too, by quant and key."""
        found = (read_record(path.parent) for path in self.folder.glob(f"*/*/{RECORD}"))
        return sorted(
            (record for record in found if record is not None),
            key=lambda record: (record.artifact.quant, record.artifact.key),
        )

    def folder_of(self, key: str) -> Path:
        """Where the artifact of this key is, or would be."""
        return self.folder / key[:2] / key
