"""Weights looked at one by one: is it quantization, or damage?

Quantizing changes every weight a little: by 0.5 % of a row's length for Q8_0, some 7 % for Q4_K,
30 % for Q2_K (measured on real models). Bytes that were overwritten give rows that have nothing
to do with the source's: off by 100 % and more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

from deployq.ggml import TYPES, padded, tensor_bytes
from deployq.records import dataclass
from deployq.source.gguf import read_header
from deployq.types import Progress, TensorInfo

OFF, COARSE_OFF = 0.7, 0.9
"""A row that is off by more of its own length was not quantized from the source's; the second is
for types of less than three bits, whose worst rows are off by 0.5 by themselves."""

LARGEST = 16384.0
"""No weight of a trained model comes near it; F16 ends at 65504."""

# Types of so few bits that their own error comes near `OFF`: only absurd values are damage there.
_COARSE = frozenset({"IQ1_S", "IQ1_M", "TQ1_0", "TQ2_0", "Q1_0", "Q2_0"})
_CHUNK_ELEMENTS = 1 << 22

Rows = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Damage:
    """A tensor with rows that can't be right, and in what way."""

    tensor: str
    type: str
    rows: int
    of_rows: int
    what: str

    def __str__(self) -> str:
        return f"{self.tensor}: {self.rows:,} of {self.of_rows:,} rows {self.what}"


@dataclass(frozen=True)
class _Place:
    """Where a tensor's data stands."""

    file: Path
    offset: int
    info: TensorInfo


def damaged_tensors(
    made: Sequence[Path], source: Sequence[Path], progress: Progress
) -> list[Damage]:
    """The tensors of a model that are no quantization of the source's.

    Args:
        made: the files of the model that is looked at.
        source: those of what it was made from; empty: only absurd values are looked for.

    Raises:
        SourceError: a file can't be read.
    """
    mine, theirs = _places(made), _places(source)
    total, done = sum(p.info.n_elements for p in mine.values()), 0
    found = []
    for name, place in mine.items():
        damage = _look(place, _same_shape(theirs.get(name), place))
        if damage is not None:
            found.append(damage)
        done += place.info.n_elements
        progress("weights", done, total, "weights")
    return found


def _same_shape(other: _Place | None, place: _Place) -> _Place | None:
    return other if other is not None and other.info.shape == place.info.shape else None


def _look(place: _Place, source: _Place | None) -> Damage | None:
    if not _readable(place):
        return None
    if place.info.type in _COARSE or source is None or not _readable(source):
        source = None
    absurd = off = 0
    for start, rows in _rows(place):
        wild = ~np.isfinite(rows).all(axis=1) | (np.abs(rows).max(axis=1) > LARGEST)
        absurd += int(wild.sum())
        if source is not None:
            bad = _off(rows, _slice(source, start, len(rows)), _limit(place.info.type))
            off += int((bad & ~wild).sum())
    if not absurd + off:
        return None
    what = "hold values that no weights have" if absurd else "are not those of the source"
    shape = place.info.shape
    of_rows = place.info.n_elements // (shape[0] if shape else 1)
    return Damage(place.info.name, place.info.type, absurd + off, of_rows, what)


def _limit(type_name: str) -> float:
    return COARSE_OFF if TYPES[type_name].bits < 3 else OFF


def _off(rows: Rows, source: Rows, limit: float) -> Any:
    """Which rows are off by more than quantizing explains."""
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(source, axis=1)
        error = np.linalg.norm(rows - source, axis=1)
        return error > limit * (lengths + 0.05 * lengths.mean())


# ---------------------------------------------------------------- reading


def _places(files: Sequence[Path]) -> Mapping[str, _Place]:
    """Where every tensor of a model stands, by name; its parts in one."""
    found: dict[str, _Place] = {}
    for file in files:
        header = read_header(file)
        if header.big_endian:
            continue
        offset = header.data_offset
        for info in header.tensors:
            found[info.name] = _Place(file, offset, info)
            offset += padded(tensor_bytes(info.shape, info.type), header.alignment)
    return found


def _readable(place: _Place) -> bool:
    """Whether weights of this type can be turned into numbers here."""
    kind = TYPES[place.info.type]
    one = np.zeros((1, kind.block_bytes), np.uint8)
    try:
        dequantize(one, GGMLQuantizationType(kind.id))
    except (NotImplementedError, ValueError):
        return False
    return place.info.type[0] != "I" or place.info.type.startswith("IQ")


def _rows(place: _Place) -> Iterator[tuple[int, Rows]]:
    """All rows as numbers, some at a time, with the number of the first."""
    row = place.info.shape[0] if place.info.shape else 1
    count = place.info.n_elements // row
    step = max(1, _CHUNK_ELEMENTS // row)
    for start in range(0, count, step):
        yield start, _slice(place, start, min(step, count - start))


def _slice(place: _Place, start: int, count: int) -> Rows:
    kind = TYPES[place.info.type]
    row = place.info.shape[0] if place.info.shape else 1
    row_bytes = row // kind.block * kind.block_bytes
    raw = np.fromfile(
        place.file, np.uint8, count * row_bytes, offset=place.offset + start * row_bytes
    ).reshape(count, row_bytes)
    with np.errstate(all="ignore"):
        rows: Rows = dequantize(raw, GGMLQuantizationType(kind.id)).astype(np.float32)
    return rows
