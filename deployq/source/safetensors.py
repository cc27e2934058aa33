"""A reader of safetensors headers: names, types and shapes, no weights.

The format is that of https://github.com/huggingface/safetensors (README, "Format"): eight bytes
of length, a JSON object, then the data with no holes. What a header claims is held against the
file before it is believed.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deployq.errors import SourceError
from deployq.files import open_regular
from deployq.foreign_values import read_object
from deployq.records import dataclass
from deployq.source.saves import INDEX, SINGLE, choose_save

MAX_HEADER_BYTES = 100_000_000  # the reference implementation's own limit

DTYPE_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
_BROKEN = "the file is damaged or still being written: download or save it again"


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a safetensors file; `shape` is in PyTorch's order, the row last."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def n_elements(self) -> int:
        count = 1
        for extent in self.shape:
            count *= extent
        return count


@dataclass(frozen=True)
class Weights:
    """The tensors of a model, over all its files."""

    files: tuple[Path, ...]
    tensors: tuple[StoredTensor, ...]

    @property
    def file_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.files)


def read_weights(folder: Path) -> Weights:
    """The tensors of a Hugging Face model, from the save in its folder that counts.

    Raises:
        SourceError: there are none, a shard is missing, or a header is not true.
    """
    taken = choose_save(folder).taken
    if (taken is None or taken.index) and (folder / INDEX).exists():
        return _sharded(folder)
    if taken is None or taken.pickled:
        found = ", ".join(file.name for file in sorted(folder.glob("*.safetensors"))) or "none"
        raise SourceError(
            f"{folder}: neither {SINGLE} nor {INDEX} is there (safetensors files: {found})",
            hint="save the model with save_pretrained(..., safe_serialization=True)",
        )
    return Weights(taken.files, read_tensors(taken.files[0]))


def read_tensors(file: Path) -> tuple[StoredTensor, ...]:
    """The tensors that one file's header lists.

    Raises:
        SourceError: it is no safetensors file, or its header contradicts itself or the file.
    """
    try:
        with open_regular(file) as stream:
            size = os.fstat(stream.fileno()).st_size
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == len(b"<length>") else -1
            _check_length(file, length, size)
            text = stream.read(length)
    except OSError as exc:
        raise SourceError(f"{file}: can't be read: {exc.strerror or exc}") from exc
    return _tensors(file, _object(file, text), size - 8 - length)


def _check_length(file: Path, length: int, size: int) -> None:
    if length < 0:
        raise SourceError(f"{file}: {size} bytes are no safetensors file", hint=_BROKEN)
    if length > MAX_HEADER_BYTES or length > size - 8:
        raise SourceError(
            f"{file}: claims a header of {length} bytes; the file has {size}", hint=_BROKEN
        )


def _object(file: Path, text: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise SourceError(f"{file}: its header has {twice!r} twice", hint=_BROKEN)
        return made

    try:
        header = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as exc:
        raise SourceError(f"{file}: its header is no JSON: {exc}", hint=_BROKEN) from exc
    if not isinstance(header, dict):
        raise SourceError(f"{file}: its header is no JSON object", hint=_BROKEN)
    return header


def _tensors(file: Path, header: Mapping[str, Any], data_bytes: int) -> tuple[StoredTensor, ...]:
    """Every tensor checked; one behind the other, without holes, to the end of the file."""
    placed = [
        _tensor(file, name, entry) for name, entry in header.items() if name != "__metadata__"
    ]
    expected = 0
    for tensor, begin, end in sorted(placed, key=lambda place: place[1:]):
        if begin != expected:
            what = "its data begins"
            raise SourceError(
                f"{file}: tensor {tensor.name!r}: {what} at {begin}, not at {expected}",
                hint=_BROKEN,
            )
        expected = end
    if expected != data_bytes:
        raise SourceError(
            f"{file}: its header describes {expected} bytes of data, the file has {data_bytes}",
            hint=_BROKEN,
        )
    return tuple(tensor for tensor, _, _ in placed)


def _tensor(file: Path, name: str, entry: Any) -> tuple[StoredTensor, int, int]:
    def lie(cause: str) -> SourceError:
        return SourceError(f"{file}: tensor {name!r}: {cause}", hint=_BROKEN)

    if not isinstance(entry, dict):
        raise lie("its entry is no JSON object")
    dtype = entry.get("dtype")
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise lie(f"the type {dtype!r} does not exist")
    shape, place = _counts(entry.get("shape")), _counts(entry.get("data_offsets"))
    if shape is None:
        raise lie(f"{entry.get('shape')!r} is no shape")
    if place is None or len(place) != len(("begin", "end")) or place[0] > place[1]:
        raise lie(f"{entry.get('data_offsets')!r} is no place for data")
    tensor = StoredTensor(name, dtype, shape)
    needed, given = tensor.n_elements * DTYPE_BYTES[dtype], place[1] - place[0]
    if needed != given:
        raise lie(f"{dtype} of shape {list(shape)} takes {needed} bytes, {given} are claimed")
    return tensor, place[0], place[1]


def _counts(value: Any) -> tuple[int, ...] | None:
    """A list of sensible counts; None: it is something else."""
    right = isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 62 for n in value)
    return tuple(value) if right else None


def _sharded(folder: Path) -> Weights:
    """All shards that the index names, each with just the tensors that it should hold."""
    index = folder / INDEX
    names = read_index(index)
    files = tuple(_shard(folder, name) for name in sorted(set(names.values())))
    tensors = tuple((file, tensor) for file in files for tensor in read_tensors(file))
    _check_index(index, names, tensors)
    return Weights(files, tuple(tensor for _, tensor in tensors))


def read_index(file: Path) -> dict[str, str]:
    """The file of each tensor, as an index of shards has it.

    Raises:
        SourceError: it is no such index.
    """
    index = read_object(file)
    if not (names := index.child("weight_map").as_texts()):
        raise index.wrong("weight_map", "an object that maps tensors to files")
    return names


def _shard(folder: Path, name: str) -> Path:
    if Path(name).name != name:
        raise SourceError(f"{folder / INDEX}: {name!r} is no file of this folder")
    if not (folder / name).is_file():
        raise SourceError(
            f"{folder}: the shard {name} is missing", hint="put all shards into one folder"
        )
    return folder / name


def _check_index(
    index: Path, names: Mapping[str, str], tensors: Sequence[tuple[Path, StoredTensor]]
) -> None:
    held = {tensor.name: file.name for file, tensor in tensors}
    if len(held) < len(tensors):
        raise SourceError(f"{index}: a tensor is in more than one shard")
    for name, file in names.items():
        if held.get(name) != file:
            where = held.get(name, "no shard")
            raise SourceError(f"{index}: {name!r} should be in {file}; it is in {where}")
    if extra := held.keys() - names.keys():
        raise SourceError(f"{index}: does not know of {min(extra)!r}, which {held[min(extra)]} has")
