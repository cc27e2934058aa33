"""A reader of GGUF headers: metadata and tensor list, no weights, no large arrays.

The format is that of the GGUF specification (ggml/docs/gguf.md), versions 2 and 3, little and
big endian. What a header claims is never believed: every length is held against the file's own
size before anything is read or allocated, so a hostile file costs an error, not memory.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from deployq.errors import SourceError
from deployq.files import open_regular
from deployq.ggml import TYPES_BY_ID, padded, tensor_bytes
from deployq.types import Scalar, TensorInfo

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 18
MAX_DIMS = 4
MAX_NAME_BYTES = 1 << 16
MAX_TENSOR_NAME_BYTES = 63  # GGML_MAX_NAME less its end mark
MAX_STRING_BYTES = 16 << 20  # the longest real values are chat templates of some 100 kB
MAX_STRING_ENTRIES = 1 << 24  # all string arrays together; the largest vocabularies have 10^6
SMALL_ARRAY = 1024  # numeric arrays up to here are kept: per-layer figures, not vocabularies
_CHUNK_BYTES = 1 << 20
_MARK_EVERY = 256

_STRING, _ARRAY, _BOOL = 8, 9, 7
_FORMATS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIifBQqd", strict=True))
_SIZES = {kind: struct.calcsize(code) for kind, code in _FORMATS.items()}


@dataclass(frozen=True)
class Array:
    """An array of a header, left in the file; single entries are fetched when asked for.

    `kind` is GGUF's value type, `offset` where the first entry stands, `end` where the last one
    ends. `marks` are the offsets of every 256th string.
    """

    path: Path
    kind: int
    count: int
    offset: int
    end: int
    order: str
    marks: tuple[int, ...] = ()

    def at(self, index: int) -> Scalar | None:
        """The entry at `index`; None where there is none."""
        if not 0 <= index < self.count:
            return None
        with self.path.open("rb") as file:
            if self.kind != _STRING:
                start = self.offset + index * _SIZES[self.kind]
                return Cursor(file, self.path, self.order, start).scalar(self.kind, "an array")
            cursor = Cursor(file, self.path, self.order, self.marks[index // _MARK_EVERY])
            cursor.skip_strings(index % _MARK_EVERY, "an array")
            return cursor.string(f"entry {index}", MAX_STRING_BYTES)

    def texts(self) -> Iterator[str]:
        """Every entry of an array of strings, in order."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            content = file.read(self.end - self.offset)
        at, length_at = 0, struct.Struct(f"{self.order}Q").unpack_from
        for _ in range(self.count):
            end = at + 8 + length_at(content, at)[0]
            yield content[at + 8 : end].decode("utf-8", "replace")
            at = end

    def numbers(self) -> tuple[int | float | bool, ...]:
        """Every entry of an array of numbers, in order."""
        with self.path.open("rb") as file:
            return Cursor(file, self.path, self.order, self.offset).numbers(
                self.kind, self.count, "an array"
            )

    def index(self, text: str) -> int | None:
        """Where `text` stands in an array of strings; None if it doesn't."""
        wanted = text.encode()
        needle = struct.pack(f"{self.order}Q", len(wanted)) + wanted
        with self.path.open("rb") as file:
            for place in self._places(file, needle):
                mark = bisect_right(self.marks, place) - 1
                cursor, index = (
                    Cursor(file, self.path, self.order, self.marks[mark]),
                    mark * _MARK_EVERY,
                )
                while cursor.position < place:
                    cursor.skip_strings(1, "an array")
                    index += 1
                if cursor.position == place:
                    return index
        return None

    def _places(self, file: BinaryIO, needle: bytes) -> Iterator[int]:
        """Offsets where the bytes of an entry turn up; one in the midst of another can too."""
        base, rest = self.offset, b""
        while base < self.end:
            file.seek(base)
            chunk = file.read(min(_CHUNK_BYTES, self.end - base))
            window, start = rest + chunk, base - len(rest)
            found = window.find(needle)
            while found >= 0:
                yield start + found
                found = window.find(needle, found + 1)
            base, rest = base + (len(chunk) or self.end), window[-(len(needle) - 1) :]


@dataclass(frozen=True)
class Header:
    """What a GGUF file's header says.

    `entry_bytes` are the bytes of each metadata entry, its key included; `values` holds the
    numeric arrays of up to 1024 entries. `data_offset` is where tensor data starts.
    """

    path: Path
    version: int
    big_endian: bool
    alignment: int
    file_bytes: int
    data_offset: int
    metadata: Mapping[str, Scalar]
    arrays: Mapping[str, Array]
    values: Mapping[str, tuple[int | float | bool, ...]]
    entry_bytes: Mapping[str, int]
    tensors: tuple[TensorInfo, ...]


class Cursor:
    """A place in a GGUF file that moves forward; knows the file's size and never passes it."""

    def __init__(self, file: BinaryIO, path: Path, order: str = "<", position: int = 0) -> None:
        self.file, self.path = file, path
        self.order, self.position = order, position
        self.file_bytes = file.seek(0, 2)
        self._chunk, self._base = b"", 0
        self._entries = 0

    def fail(self, what: str, cause: str) -> NoReturn:
        raise SourceError(
            f"{self.path}: {what} at byte {self.position}: {cause}",
            hint="the file is damaged or still being written: download or convert it again",
        )

    def need(self, n_bytes: int, what: str) -> int:
        """Make sure that `n_bytes` from here are in the chunk; their index in it."""
        left = self.file_bytes - self.position
        if n_bytes > left:
            self.fail(what, f"the file ends here: {n_bytes} bytes claimed, {max(left, 0)} left")
        start = self.position - self._base
        if start < 0 or start + n_bytes > len(self._chunk):
            self.file.seek(self.position)
            self._chunk = self.file.read(max(n_bytes, _CHUNK_BYTES))
            self._base, start = self.position, 0
            if len(self._chunk) < n_bytes:
                self.fail(what, "the file was cut while it was read")
        return start

    def scalar(self, kind: int, what: str) -> int | float | bool:
        (value,) = self.numbers(kind, 1, what)
        return value

    def numbers(self, kind: int, count: int, what: str) -> tuple[int | float | bool, ...]:
        values = self.unpack(f"{count}{_FORMATS[kind]}", what)
        return tuple(map(bool, values)) if kind == _BOOL else values

    def unpack(self, code: str, what: str) -> tuple[Any, ...]:
        """The values from here on, by a format of the `struct` module."""
        code = self.order + code
        n_bytes = struct.calcsize(code)
        start = self.need(n_bytes, what)
        values = struct.unpack_from(code, self._chunk, start)
        self.position += n_bytes
        return values

    def integer(self, kind: int, what: str) -> int:
        return int(self.scalar(kind, what))

    def string(self, what: str, limit: int) -> str:
        """A string's text; bytes that are no UTF-8 become U+FFFD."""
        n_bytes = self.integer(10, what)
        if n_bytes > limit:
            self.fail(what, f"a string of {n_bytes} bytes is longer than any real one")
        start = self.need(n_bytes, what)
        self.position += n_bytes
        return self._chunk[start : start + n_bytes].decode("utf-8", "replace")

    def skip(self, n_bytes: int, what: str) -> None:
        left = self.file_bytes - self.position
        if n_bytes > left:
            self.fail(what, f"the file ends here: {n_bytes} bytes claimed, {left} left")
        self.position += n_bytes

    def skip_strings(self, count: int, what: str) -> tuple[int, ...]:
        """Walk over `count` strings; the offsets of every 256th one."""
        self._entries += count
        if self._entries > MAX_STRING_ENTRIES:
            self.fail(what, f"{self._entries} strings are more than any real model has")
        if count * 8 > self.file_bytes - self.position:
            self.fail(what, f"{count} strings are claimed, more than the file can hold")
        marks = []
        for _ in range(0, count, _MARK_EVERY):
            marks.append(self.position)
            self._skip_some(min(_MARK_EVERY, count), what)
            count -= _MARK_EVERY
        return tuple(marks)

    def _skip_some(self, count: int, what: str) -> None:
        """The inner loop over a vocabulary's strings: plain local arithmetic, for speed."""
        unpack = struct.Struct(f"{self.order}Q").unpack_from
        start = self.need(8, what)
        chunk, last = self._chunk, len(self._chunk) - 8
        for _ in range(count):
            if start > last:
                self.position = self._base + start
                start = self.need(8, what)
                chunk, last = self._chunk, len(self._chunk) - 8
            start += 8 + unpack(chunk, start)[0]
        self.position = self._base + start
        if self.position > self.file_bytes:
            self.fail(what, f"a string reaches beyond the file's {self.file_bytes} bytes")


@dataclass
class _Reading:
    """A header half read."""

    metadata: dict[str, Scalar] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    values: dict[str, tuple[int | float | bool, ...]] = field(default_factory=dict)
    entry_bytes: dict[str, int] = field(default_factory=dict)


def read_header(path: Path) -> Header:
    """Read a GGUF file's header.

    Raises:
        SourceError: it is no GGUF, or is cut, or its header contradicts itself or the file.
    """
    try:
        with open_regular(path) as file:
            return _read(Cursor(file, path))
    except OSError as exc:
        raise SourceError(f"{path}: can't be read: {exc.strerror or exc}") from exc


def _read(cursor: Cursor) -> Header:
    version, n_tensors, n_keys = _preamble(cursor)
    reading = _Reading()
    for _ in range(n_keys):
        _entry(cursor, reading)
    alignment = _alignment(cursor, reading.metadata.get("general.alignment", 32))
    infos = [_tensor_info(cursor, number) for number in range(n_tensors)]
    data_offset = padded(cursor.position, alignment)
    _check_data(cursor, infos, data_offset, alignment)
    return Header(
        path=cursor.path,
        version=version,
        big_endian=cursor.order == ">",
        alignment=alignment,
        file_bytes=cursor.file_bytes,
        data_offset=data_offset,
        metadata=reading.metadata,
        arrays=reading.arrays,
        values=reading.values,
        entry_bytes=reading.entry_bytes,
        tensors=tuple(info for info, _ in infos),
    )


def _preamble(cursor: Cursor) -> tuple[int, int, int]:
    """Version, number of tensors, number of keys; sets the byte order."""
    start = cursor.need(min(4, cursor.file_bytes), "the magic")
    magic = cursor._chunk[start : start + 4]  # noqa: SLF001  (the same module)
    if magic != MAGIC:
        raise SourceError(
            f"{cursor.path}: not a GGUF file: it starts with {magic!r}, not {MAGIC!r}",
            hint="give a full-precision GGUF (F16, BF16 or F32)",
        )
    cursor.position = 4
    version = cursor.integer(4, "the version")
    if version & 0xFFFF == 0 and version:
        cursor.order, cursor.position = ">", 4
        version = cursor.integer(4, "the version")
    if version not in VERSIONS:
        cursor.position = 4
        cursor.fail("the version", f"GGUF version {version} is not one of {VERSIONS}")
    n_tensors = _count(cursor, "the number of tensors", MAX_TENSORS)
    return version, n_tensors, _count(cursor, "the number of keys", MAX_KEYS)


def _count(cursor: Cursor, what: str, limit: int) -> int:
    count = cursor.integer(10, what)
    if count > limit:
        cursor.position -= 8
        cursor.fail(what, f"{count} is more than any real model has")
    return count


def _entry(cursor: Cursor, reading: _Reading) -> None:
    start = cursor.position
    key = cursor.string("a metadata key", MAX_NAME_BYTES)
    if key in reading.entry_bytes:
        cursor.fail(f"key {key!r}", "it is there twice")
    what = f"key {key!r}"
    kind = cursor.integer(4, what)
    if kind == _ARRAY:
        _array(cursor, key, reading)
    elif kind == _STRING:
        reading.metadata[key] = cursor.string(what, MAX_STRING_BYTES)
    elif kind in _FORMATS:
        reading.metadata[key] = cursor.scalar(kind, what)
    else:
        cursor.fail(what, f"value type {kind} does not exist")
    reading.entry_bytes[key] = cursor.position - start


def _array(cursor: Cursor, key: str, reading: _Reading) -> None:
    what = f"array {key!r}"
    kind, count = cursor.integer(4, what), cursor.integer(10, what)
    start, marks = cursor.position, ()  # type: int, tuple[int, ...]
    if kind == _STRING:
        marks = cursor.skip_strings(count, what)
    elif kind not in _FORMATS:
        cursor.fail(what, f"entries of type {kind} can't stand in an array")
    elif count <= SMALL_ARRAY:
        reading.values[key] = cursor.numbers(kind, count, what)
    else:
        cursor.skip(count * _SIZES[kind], what)
    reading.arrays[key] = Array(
        cursor.path, kind, count, start, cursor.position, cursor.order, marks
    )


def _alignment(cursor: Cursor, value: Scalar) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 1 << 20:
        cursor.fail("general.alignment", f"{value!r} is no alignment")
    if value & (value - 1):
        cursor.fail("general.alignment", f"{value} is no power of two")
    return value


def _tensor_info(cursor: Cursor, number: int) -> tuple[TensorInfo, int]:
    """One tensor and the offset of its data, counted from where data starts."""
    name = cursor.string(f"the name of tensor {number}", MAX_TENSOR_NAME_BYTES)
    what = f"tensor {name!r}"
    n_dims = cursor.integer(4, what)
    if n_dims > MAX_DIMS:
        cursor.fail(what, f"{n_dims} dimensions; {MAX_DIMS} is the most there can be")
    *shape, type_id, offset = cursor.unpack(f"{n_dims}QIQ", what)
    if 0 in shape or math.prod(shape) >= 1 << 63:
        cursor.fail(what, f"the shape {tuple(shape)} is absurd")
    kind = TYPES_BY_ID.get(type_id)
    if kind is None:
        cursor.fail(what, f"tensor type {type_id} is unknown or was removed from the format")
    row = shape[0] if shape else 1
    if row % kind.block:
        cursor.fail(what, f"rows of {row} are no multiple of {kind.name}'s block, {kind.block}")
    # One number without a dimension is one of length 1 to ggml, too (`gguf_init_from_file`).
    return TensorInfo(name, tuple(shape) or (1,), kind.name), offset


def _check_data(
    cursor: Cursor, infos: list[tuple[TensorInfo, int]], data_offset: int, alignment: int
) -> None:
    """Every tensor once, one behind the other (as llama.cpp demands), within the file."""
    if len({info.name for info, _ in infos}) < len(infos):
        cursor.fail("the tensor list", "a name is there twice")
    expected = 0
    for info, offset in infos:
        if offset != expected:
            cursor.fail(f"tensor {info.name!r}", f"its data is at {offset}, not at {expected}")
        end = expected + tensor_bytes(info.shape, info.type)
        if data_offset + end > cursor.file_bytes:
            missing = data_offset + end - cursor.file_bytes
            cursor.fail(f"tensor {info.name!r}", f"the file is cut: {missing} bytes are missing")
        expected = padded(end, alignment)
