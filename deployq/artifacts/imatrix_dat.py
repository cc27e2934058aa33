"""Reading an importance matrix of the format before GGUF, `.dat`, in which most were published.

Little-endian, as llama.cpp's tools/imatrix/imatrix.cpp (b11434, `save_imatrix_legacy`) writes it:
how many entries; per entry the length of its name, the name, how often it was added to, how many
values, the values (float32); then how many chunks, and the length and name of the text.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

from deployq.errors import ArtifactError
from deployq.types import ImatrixFacts

_MOST_ENTRIES, _MOST_NAME = 1 << 20, 1 << 10


def read_dat(path: Path, content: bytes) -> ImatrixFacts:
    """What a matrix holds; `experts` is empty, since the format does not part their values.

    Raises:
        ArtifactError: it is none.
    """
    file = io.BytesIO(content)
    try:
        values = dict(_entry(file) for _ in range(_number(file, _MOST_ENTRIES)))
        if not values:
            raise ValueError("it has no entries")
        chunks = _number(file) if file.tell() < len(content) else 0
        text = file.read(_number(file, _MOST_NAME)) if file.tell() < len(content) else b""
    except (struct.error, ValueError) as exc:
        raise ArtifactError(
            f"{path} is no importance matrix, of the new format (GGUF) or the old (.dat)",
            hint='make one: imatrix = "suite" in deployq.toml, or --imatrix suite',
        ) from exc
    named = (text.decode(errors="replace"),) if text else ()
    return ImatrixFacts(values, {}, chunks, 0, named)


def _entry(file: io.BytesIO) -> tuple[str, int]:
    """An entry's name, and how many values it has."""
    name = file.read(_number(file, _MOST_NAME)).decode()
    _number(file)
    count = _number(file)
    end = file.seek(4 * count, io.SEEK_CUR)
    if not name or not count or end > len(file.getbuffer()):
        raise ValueError("the file is cut, or is something else")
    return name, count


def _number(file: io.BytesIO, most: int = (1 << 31) - 1) -> int:
    (number,) = struct.unpack("<i", file.read(4))
    if not 0 <= number <= most:
        raise ValueError(f"{number} is out of range")
    return int(number)
