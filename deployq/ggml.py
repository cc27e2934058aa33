"""ggml's tensor types: ids, block sizes, and the bytes that a tensor takes in a GGUF file.

Ids are those of `enum ggml_type` in ggml/include/ggml.h, block sizes those of the block structs
in ggml/src/ggml-common.h (llama.cpp b11434).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GGUF_ALIGNMENT = 32
"""Bytes that every tensor's data is padded to where a file doesn't say otherwise."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """One way to store weights: `block` elements of a row take `block_bytes`."""

    name: str
    id: int
    block: int
    block_bytes: int

    @property
    def bits(self) -> float:
        """Bits per element."""
        return 8 * self.block_bytes / self.block

    @property
    def quantized(self) -> bool:
        return self.block > 1


_TABLE = (
    ("F32", 0, 1, 4), ("F16", 1, 1, 2), ("Q4_0", 2, 32, 18), ("Q4_1", 3, 32, 20),
    ("Q5_0", 6, 32, 22), ("Q5_1", 7, 32, 24), ("Q8_0", 8, 32, 34), ("Q8_1", 9, 32, 36),
    ("Q2_K", 10, 256, 84), ("Q3_K", 11, 256, 110), ("Q4_K", 12, 256, 144),
    ("Q5_K", 13, 256, 176), ("Q6_K", 14, 256, 210), ("Q8_K", 15, 256, 292),
    ("IQ2_XXS", 16, 256, 66), ("IQ2_XS", 17, 256, 74), ("IQ3_XXS", 18, 256, 98),
    ("IQ1_S", 19, 256, 50), ("IQ4_NL", 20, 32, 18), ("IQ3_S", 21, 256, 110),
    ("IQ2_S", 22, 256, 82), ("IQ4_XS", 23, 256, 136), ("I8", 24, 1, 1), ("I16", 25, 1, 2),
    ("I32", 26, 1, 4), ("I64", 27, 1, 8), ("F64", 28, 1, 8), ("IQ1_M", 29, 256, 56),
    ("BF16", 30, 1, 2), ("TQ1_0", 34, 256, 54), ("TQ2_0", 35, 256, 66), ("MXFP4", 39, 32, 17),
    ("NVFP4", 40, 64, 36), ("Q1_0", 41, 128, 18), ("Q2_0", 42, 64, 18),
)  # fmt: skip

NATIVE_TYPES = frozenset({"MXFP4"})
"""Quantized types that models are trained in (gpt-oss): such tensors have lost nothing."""

TYPES = {name: TensorType(name, *numbers) for name, *numbers in _TABLE}
TYPES_BY_ID = {kind.id: kind for kind in TYPES.values()}


def padded(n_bytes: int, alignment: int = GGUF_ALIGNMENT) -> int:
    """`n_bytes` rounded up to a multiple of `alignment`."""
    return -(-n_bytes // alignment) * alignment


def tensor_bytes(shape: Sequence[int], type_name: str) -> int:
    """Bytes of a tensor's data, not padded; `shape[0]` must be a multiple of the type's block."""
    kind = TYPES[type_name]
    count = 1
    for extent in shape:
        count *= extent
    return count // kind.block * kind.block_bytes
