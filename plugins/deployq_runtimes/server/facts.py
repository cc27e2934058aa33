"""What Ollama tells of a model's weights, from the header of the GGUF."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from deployq import ModelInfo, inspect

_HIDDEN = ("general.name", "tokenizer.chat_template")

# general.file_type, by llama.cpp's llama_ftype.
FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
}


def facts(path: Path) -> ModelInfo:
    """The header of a GGUF; read once for as long as the file stays what it is.

    Raises:
        SourceError: that is no GGUF, or a damaged one.
    """
    stat = path.stat()
    return _facts(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _facts(path: Path, size: int, mtime_ns: int) -> ModelInfo:  # noqa: ARG001  (the cache's key)
    return inspect(path)


def number(info: ModelInfo, key: str) -> int | None:
    """A whole number of the model's own architecture, such as `context_length`."""
    value = info.metadata.get(f"{info.architecture}.{key}")
    return int(value) if isinstance(value, int | float) else None


def file_type(info: ModelInfo) -> str:
    """The quantization level as Ollama names it."""
    return FILE_TYPES.get(_int(info.metadata.get("general.file_type")), "unknown")


def _int(value: Any) -> int:
    return value if isinstance(value, int) else -1


def human_count(count: int) -> str:
    """A parameter count as Ollama shows it: 134.52M, 7.2B, 5K (format.HumanNumber)."""
    for unit, size, digits in (("B", 10**9, 1), ("M", 10**6, 2)):
        if count >= size:
            return (
                f"{count / size:.0f}{unit}"
                if count % size == 0
                else f"{count / size:.{digits}f}{unit}"
            )
    return f"{count / 1000:.0f}K" if count >= 1000 else str(count)


def model_info(info: ModelInfo) -> Mapping[str, Any]:
    """The header's keys as `/api/show` gives them; arrays are shown empty."""
    values: dict[str, Any] = {key: _shortest(value) for key, value in info.metadata.items()}
    values |= dict.fromkeys(info.array_lengths, ()) | {"general.parameter_count": info.n_params}
    return {key: values[key] for key in sorted(values) if key not in _HIDDEN}


def _shortest(value: Any) -> Any:
    """A 32-bit float as the shortest decimal that means it: 1e-05, not 9.999999747378752e-06."""
    if not isinstance(value, float) or not math.isfinite(value):
        return value
    narrow = _as_float32(value)
    if narrow != value:
        return value
    short = next(
        text for n in range(6, 10) if _as_float32(float(text := f"{value:.{n}g}")) == narrow
    )
    return int(float(short)) if float(short).is_integer() else float(short)


def _as_float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def tensors(info: ModelInfo) -> list[dict[str, Any]]:
    """The tensor list of a verbose show."""
    return [{"name": t.name, "type": t.type, "shape": list(t.shape)} for t in info.tensors]
