"""A projector for images or sound (mmproj) beside a model: loaded with it, so it counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deployq.ggml import padded, tensor_bytes
from deployq.source.gguf import Header, read_header


def projector_of(model: Path, metadata: Mapping[str, Any]) -> Header | None:
    """The one projector beside a model that fits it; with several, nobody knows which: None.

    It fits where what it makes of an image is as wide as the model's embeddings, or a multiple of
    that (some models take images at several layers).
    """
    files = [file for file in sorted(model.parent.glob("*mmproj*.gguf")) if file != model]
    if len(files) != 1:
        return None
    header = read_header(files[0])
    width = metadata.get(f"{metadata.get('general.architecture')}.embedding_length")
    made = [v for k, v in header.metadata.items() if k.endswith(".projection_dim")]
    fits = not width or not made or any(one % width == 0 for one in made)
    return header if fits else None


def projector_bytes(header: Header | None) -> int:
    """The bytes of its weights once they are loaded."""
    tensors = header.tensors if header is not None else ()
    return sum(padded(tensor_bytes(tensor.shape, tensor.type)) for tensor in tensors)


def projector_note(n_bytes: int) -> Iterator[str]:
    """Says that a projector is counted, where there is one."""
    if n_bytes:
        yield f"weights of a projector for images or sound are counted: {n_bytes:,} bytes"
