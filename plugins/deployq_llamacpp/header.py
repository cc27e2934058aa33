"""The length of a GGUF file's metadata, and the few keys that llama-quantize changes in it.

Only what the size of an output depends on; values are skipped, not read.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

# bytes of a value by its type id (ggml/include/gguf.h); 8 is a string, 9 an array
_FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY, _UINT32, _UINT16 = 8, 9, 4, 2
_WATCHED = frozenset(
    {
        "general.alignment",
        "general.file_type",
        "general.quantization_version",
        "split.no",
        "split.count",
        "split.tensors.count",
    }
)
START_BYTES = 24  # magic, version, tensor count, key count


@dataclass(frozen=True)
class Metadata:
    """The metadata section of one file.

    `entries` holds the bytes that a watched key takes with its value, `values` the number that it
    has. `digest` covers the whole header, tensor list included.
    """

    section_bytes: int
    entries: dict[str, int]
    values: dict[str, int]
    digest: str


@dataclass(frozen=True)
class Array:
    """A list in the metadata: its items' type id, how many, and where the first one stands."""

    kind: int
    count: int
    offset: int


class _Cursor:
    def __init__(self, view: mmap.mmap) -> None:
        self.view = view
        self.at = 0

    def take(self, form: str) -> int:
        (value,) = struct.unpack_from(f"<{form}", self.view, self.at)
        self.at += struct.calcsize(f"<{form}")
        return int(value)

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self.view):
            raise ValueError("the header is cut")

    def text(self) -> str:
        start = self.at + 8
        self.skip_text()
        return self.view[start : self.at].decode("utf-8", "replace")

    def skip_text(self) -> None:
        self.skip(self.take("Q"))

    def skip_texts(self, count: int) -> None:
        # a vocabulary has hundreds of thousands: no call per text
        at, end, length_at = self.at, len(self.view), struct.Struct("<Q").unpack_from
        for _ in range(count):
            at += 8 + length_at(self.view, at)[0]
            if at > end:
                raise ValueError("the header is cut")
        self.at = at

    def skip_value(self, kind: int) -> None:
        if kind == _STRING:
            self.skip_text()
        elif kind == _ARRAY:
            item, count = self.take("I"), self.take("Q")
            if item == _STRING:
                self.skip_texts(count)
            else:
                self.skip(_width(item) * count)
        else:
            self.skip(_width(kind))


def read_metadata(path: Path) -> Metadata:
    """Walk over a GGUF header.

    Raises:
        ValueError: it is no GGUF (version 2 or 3, little-endian), or it is cut.
        OSError: it can't be read.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        try:
            return _walk(_Cursor(view))
        except struct.error as exc:
            raise ValueError(f"{path}: the header is cut") from exc


def find_array(path: Path, key: str) -> Array | None:
    """The list of that key; None where the header has none.

    Raises:
        ValueError: it is no GGUF, or it is cut.
        OSError: it can't be read.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        cursor = _Cursor(view)
        try:
            _, n_keys = _start(cursor)
            for _ in range(n_keys):
                name, kind = cursor.text(), cursor.take("I")
                if name == key and kind == _ARRAY:
                    item, count = cursor.take("I"), cursor.take("Q")
                    return Array(item, count, cursor.at)
                cursor.skip_value(kind)
        except struct.error as exc:
            raise ValueError(f"{path}: the header is cut") from exc
    return None


def _start(cursor: _Cursor) -> tuple[int, int]:
    """How many tensors and how many keys there are; the cursor stands at the first key."""
    if cursor.view[:4] != b"GGUF":
        raise ValueError("no GGUF")
    cursor.skip(4)
    if cursor.take("I") not in (2, 3):
        raise ValueError("not a version of GGUF that is known")
    return cursor.take("Q"), cursor.take("Q")


def _walk(cursor: _Cursor) -> Metadata:
    n_tensors, n_keys = _start(cursor)
    entries: dict[str, int] = {}
    values: dict[str, int] = {}
    for _ in range(n_keys):
        start, key, kind = cursor.at, cursor.text(), cursor.take("I")
        if key in _WATCHED and kind in (_UINT16, _UINT32):
            (values[key],) = struct.unpack_from(
                "<H" if kind == _UINT16 else "<I", cursor.view, cursor.at
            )
        cursor.skip_value(kind)
        if key in _WATCHED:
            entries[key] = cursor.at - start
    section = cursor.at - START_BYTES
    for _ in range(n_tensors):
        cursor.skip_text()
        cursor.skip(8 * cursor.take("I") + 4 + 8)
    return Metadata(section, entries, values, hashlib.sha256(cursor.view[: cursor.at]).hexdigest())


def _width(kind: int) -> int:
    if kind not in _FIXED:
        raise ValueError(f"value type {kind} is not known")
    return _FIXED[kind]
