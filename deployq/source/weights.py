"""Reads every weight of a model once: is each a number, and does it fit into an F16?

Works on raw bits, a few megabytes at a time, at the disk's speed: nothing is turned into a float.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deployq.records import dataclass
from deployq.source.adapter import Adapter
from deployq.source.pickled import pickle_places, read_pickle
from deployq.source.stored import PICKLE
from deployq.types import Failed, Finding, Remark

CHUNK_BYTES = 8 << 20
_FEW = 3

# dtype -> (unsigned type of its size, mask of the exponent, mask of all but the sign,
#           bits of the first value that rounds to infinity in F16; None: there is none)
_BITS: dict[str, tuple[str, int, int, int | None]] = {
    "F32": ("<u4", 0x7F800000, 0x7FFFFFFF, 0x477FF000),
    "BF16": ("<u2", 0x7F80, 0x7FFF, 0x4780),
    "F16": ("<u2", 0x7C00, 0x7FFF, None),
}


@dataclass(frozen=True)
class WeightScan:
    """What the weights are like: names of the first tensors of each kind, at most three."""

    not_numbers: tuple[str, ...] = ()
    above_f16: tuple[str, ...] = ()
    zero_tensors: tuple[str, ...] = ()
    scanned_bytes: int = 0


def scan_weights(
    files: Sequence[Path], on_bytes: Callable[[int], None] | None = None
) -> WeightScan:
    """Look at all weights of some files; types of no interest (integers, FP8) are skipped.

    Args:
        files: safetensors or pickle files, with valid headers.
        on_bytes: told how many bytes were read so far.
    """
    bad: list[str] = []
    large: list[str] = []
    zero: list[str] = []
    done = 0
    for file in files:
        for name, dtype, start, end in _places(file):
            if dtype in _BITS and end > start:
                nan, above, nothing = _scan(file, dtype, start, end)
                bad += [name] * nan
                large += [name] * above
                zero += [name] * (nothing and name.endswith(".weight"))
            done += end - start
            if on_bytes is not None:
                on_bytes(done)
    return WeightScan(tuple(bad[:3]), tuple(large[:3]), tuple(zero[:3]), done)


def read_array(file: Path, name: str) -> Any:
    """One tensor of a file of weights as a float32 numpy array; None: it has no such tensor."""
    found = next((place for place in _places(file) if place[0] == name), None)
    if found is None:
        return None
    _, dtype, start, end = found
    with file.open("rb") as stream:
        stream.seek(start)
        raw = stream.read(end - start)
    if dtype == "BF16":
        values = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
    else:
        kind = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}[dtype]
        values = np.frombuffer(raw, kind).astype("<f4")
    return values.reshape(_shape(file, name))


def _shape(file: Path, name: str) -> tuple[int, ...]:
    if file.suffix == PICKLE:
        return read_pickle(file)[name].shape
    return tuple(_header(file)[0][name]["shape"])


def _header(file: Path) -> tuple[dict[str, Any], int]:
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        return json.loads(stream.read(length)), 8 + length


def _places(file: Path) -> Iterator[tuple[str, str, int, int]]:
    """Name, type and place in the file of each tensor."""
    if file.suffix == PICKLE:
        yield from pickle_places(file)
        return
    header, data = _header(file)
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            yield name, entry["dtype"], data + start, data + end


def _scan(file: Path, dtype: str, start: int, end: int) -> tuple[bool, bool, bool]:
    """Has it a NaN or an infinity; a value beyond F16; nothing but zeros?"""
    kind, exponent, magnitude, limit = _BITS[dtype]
    nan = above = False
    nothing = True
    with file.open("rb") as stream:
        stream.seek(start)
        left = end - start
        while left > 0 and (raw := stream.read(min(CHUNK_BYTES, left))):
            left -= len(raw)
            largest = int((np.frombuffer(raw, kind) & magnitude).max())
            nan = nan or largest >= exponent
            above = above or (limit is not None and limit <= largest < exponent)
            nothing = nothing and largest == 0
    return nan, above, nothing


def check_trained(adapter: Adapter) -> Iterator[Finding]:
    """B starts as zero: where it still is, the adapter changes nothing."""
    zero = [m for m, name in adapter.names.items() if not read_array(adapter.weights, name).any()]
    if zero and len(zero) == len(adapter.names) and not adapter.whole:
        yield Failed(
            "adapter",
            f"{adapter.folder}: was never trained: B is zero in all {len(zero)} modules, so the "
            "merged model would be its base",
            "save the adapter after training: trainer.save_model()",
        )
    elif zero:
        some = ", ".join(zero[:_FEW])
        yield Remark("adapter", f"{adapter.folder}: {len(zero)} modules were not trained: {some}")
