"""What a header says of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import NamedTuple

from deployq.records import dataclass
from deployq.types.artifacts import MadeFrom, Part
from deployq.types.base import Scalar, SourceFormat


class TensorInfo(NamedTuple):
    """One tensor of a GGUF header; there are thousands, and a tuple is made and hashed fast.

    `shape` is in GGUF's own order: `shape[0]` is the row length that block sizes divide.
    """

    name: str
    shape: tuple[int, ...]
    type: str

    @property
    def n_elements(self) -> int:
        count = 1
        for extent in self.shape:
            count *= extent
        return count


@dataclass(frozen=True)
class ModelInfo:
    """What a header says of a model; no weights are read for it.

    `metadata` holds the scalar keys and strings; an array is kept as its length under
    `array_lengths`, and where it is numeric and short (per-layer figures) in `arrays` too.
    `header_bytes` are the bytes before the tensor data in the one file that llama-quantize would
    write of it, the last `header_padding` of them empty, `dtype` is the type that holds most
    weights. `format` is "huggingface" for a folder that was never converted: `tensors` and
    `metadata` are then those that its GGUF would have, and `estimate` says what of it is no more
    than an estimate. `projector_bytes` are the weights of a projector for images or sound beside
    the model. `warnings` name what is odd, `notes` say what was chosen among several things, and
    why. `parts` are registered with it. `made_from` says what a GGUF was converted from.
    """

    path: Path
    files: tuple[Path, ...]
    architecture: str
    name: str
    dtype: str
    quantized: bool
    n_params: int
    n_ctx_train: int | None
    header_bytes: int
    file_bytes: int
    metadata: Mapping[str, Scalar]
    array_lengths: Mapping[str, int]
    tensors: tuple[TensorInfo, ...]
    chat_template: str | None = None
    bos_token: str | None = None
    eos_token: str | None = None
    stop_tokens: tuple[str, ...] = ()
    arrays: Mapping[str, tuple[int | float | bool, ...]] = field(default_factory=dict)
    format: SourceFormat = "gguf"
    estimate: str = ""
    projector_bytes: int = 0
    header_padding: int = 0
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    made_from: MadeFrom | None = None
