"""In which numbers to work with a model: as exactly as its memory allows."""

from __future__ import annotations

import json
import math
import os
import struct
from collections import Counter
from pathlib import Path

import torch

_RAM_SHARE = 0.8
_OVERHEAD = 1.3
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_STORED = {"F64": torch.float32, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def stored_dtype(base: Path) -> torch.dtype:
    """What most of its weights are stored in; where that is no such type, what its config says.

    A config often says what a model was trained or loaded in, not what was saved.
    """
    counts: Counter[str] = Counter()
    for file in base.glob("*.safetensors"):
        if not file.name.startswith("adapter_"):
            counts.update(_elements(file))
    found = _STORED.get(counts.most_common(1)[0][0]) if counts else None
    return found or _configured_dtype(base)


def _elements(file: Path) -> dict[str, int]:
    """How many elements of matrices a safetensors file has in each type, by its header."""
    with file.open("rb") as stream:
        header = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
    header.pop("__metadata__", None)
    counts: Counter[str] = Counter()
    for entry in header.values():
        if len(entry["shape"]) > 1:
            counts[entry["dtype"]] += math.prod(entry["shape"])
    return counts


def _configured_dtype(base: Path) -> torch.dtype:
    config = json.loads((base / "config.json").read_bytes())
    text = config.get("text_config") or {}
    named = next((c[k] for c in (config, text) for k in ("dtype", "torch_dtype") if c.get(k)), None)
    return _DTYPES.get(str(named), torch.bfloat16)


def working_dtype(base: Path, stored: torch.dtype) -> torch.dtype:
    """Float32 where the memory is there: products are then rounded once, when they are saved."""
    free = free_bytes()
    fits = free is None or needed_bytes(base, stored, torch.float32) < free * _RAM_SHARE
    return torch.float32 if fits else stored


def needed_bytes(base: Path, stored: torch.dtype, dtype: torch.dtype) -> int:
    """What a model takes in memory."""
    n_bytes = sum(file.stat().st_size for file in base.glob("*.safetensors"))
    return int(n_bytes * dtype.itemsize / stored.itemsize * _OVERHEAD)


def free_bytes() -> int | None:
    """Memory that can be had without swapping; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return (
            int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
        )
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # macOS has no such figure
        return None
