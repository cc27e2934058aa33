"""A projector for images or sound (mmproj) beside a model: loaded with it, so it counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deployq.ggml import padded, tensor_bytes
from deployq.source.gguf import read_header


def projector_bytes(model: Path) -> int:
    """Weights of the one projector beside a model; with several, nobody knows which: 0."""
    files = sorted(model.parent.glob("*mmproj*.gguf"))
    if len(files) != 1 or files[0] == model:
        return 0
    tensors = read_header(files[0]).tensors
    return sum(padded(tensor_bytes(tensor.shape, tensor.type)) for tensor in tensors)


def projector_note(n_bytes: int) -> Iterator[str]:
    """Says that a projector is counted, where there is one."""
    if n_bytes:
        yield f"weights of a projector for images or sound are counted: {n_bytes:,} bytes"
