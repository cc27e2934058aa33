"""What a backend is asked for, and what the store holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class QuantizeJob:
    """One file for a backend to write.

    `source` is a full-precision GGUF (the first part of a split one), `output` a path in an
    existing folder where nothing stands yet. `threads` None means: the backend's default.
    `imatrix` is an importance matrix (GGUF) to quantize with.
    """

    source: Path
    quant: str
    output: Path
    threads: int | None = None
    allow_requantize: bool = False
    imatrix: Path | None = None


@dataclass(frozen=True)
class Artifact:
    """A finished, read-only GGUF in the store.

    `key` is the sha256 of what went into it, `digest` the sha256 (hex) of its bytes,
    `imatrix_digest` that of the importance matrix it was quantized with, if there was one.
    """

    path: Path
    quant: str
    key: str
    digest: str
    file_bytes: int
    backend: str
    backend_version: str
    seconds: float = 0.0
    reused: bool = False
    imatrix_digest: str = ""
