"""A model's files with their headers and without their weights: enough for a plan.

Weights are files of their true size that hold the header and then a hole. Nothing but a plan may
ever be made of such a folder.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

from deployq.errors import DiskError, SourceError
from deployq.source.gguf import read_header

ReadStart = Callable[[int], bytes]
"""The first so many bytes of a file, or all of it where it is shorter."""

_FIRST_BYTES = 64 << 10
_MAX_HEADER_BYTES = 100_000_000  # the safetensors library's own bound
_GGUF_STEPS = (4 << 20, 32 << 20, 256 << 20)


def outline_safetensors(path: Path, file_bytes: int, read: ReadStart) -> Path:
    """The stand-in for a safetensors file.

    Raises:
        SourceError: it has no header.
        DiskError: it can't be written.
    """
    start = read(min(file_bytes, _FIRST_BYTES))
    if len(start) < 8:
        raise SourceError(f"{path.name}: is no safetensors file: it has {len(start)} bytes")
    end = 8 + struct.unpack("<Q", start[:8])[0]
    if end > min(file_bytes, _MAX_HEADER_BYTES):
        raise SourceError(f"{path.name}: is no safetensors file: its header would be {end} bytes")
    return _write(path, (start if len(start) >= end else read(end))[:end], file_bytes)


def outline_gguf(path: Path, file_bytes: int, read: ReadStart) -> Path:
    """The stand-in for a GGUF; how long its header is, only reading it tells.

    Raises:
        SourceError: it has none.
        DiskError: it can't be written.
    """
    for step in _GGUF_STEPS:
        start = read(min(step, file_bytes))
        made = _write(path, start, file_bytes)
        try:
            if read_header(made).data_offset <= len(start):
                return made
        except SourceError:
            if len(start) == file_bytes:
                raise
        path.unlink()
    raise SourceError(f"{path.name}: its header is longer than {_GGUF_STEPS[-1] >> 20} MiB")


def _write(path: Path, start: bytes, file_bytes: int) -> Path:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(start)
        os.truncate(part, file_bytes)
        return part.replace(path)
    except OSError as exc:
        raise DiskError(f"cannot write {path}: {exc.strerror or exc}") from exc
