"""How fast a model generates: the bytes that one token reads, over the machine's bandwidth.

One request at a time is bound by memory: each token reads every active weight once, and the
cached keys and values of the tokens before it. What that leaves out (arithmetic on few cores,
launching kernels on a fast card) is in the range. An estimate, and shown as one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from deployq.ggml import tensor_bytes
from deployq.plan.architectures import prediction_layers
from deployq.plan.figures import Figures
from deployq.plan.offload import layer_of
from deployq.plan.quants import tensor_types
from deployq.types import (
    BandwidthSource,
    Memory,
    ModelInfo,
    QuantSize,
    Speed,
    Target,
    TensorInfo,
)

SHARES: Mapping[BandwidthSource, tuple[float, float, float]] = {
    "stated": (0.45, 0.65, 0.85),
    "read": (0.40, 0.70, 1.00),
    "model": (0.65, 1.00, 1.35),
}
"""Low, likely and high share of a bandwidth that llama.cpp makes use of, by how it is known.

Stated: of the maker's figure. Reports of 7B and 8B models, named in docs/machines.md, have M2 Ultra
F16 0.68, Q8_0 0.54, Q6_K 0.46; M1 Max Q4_K_M 0.53; M4 Q4_K_M 0.80; a PC with DDR5-6400 Q4_0
0.67. Small models on fast cards stay below the range. Read: few cores are busy with arithmetic
before they are bound by memory. Model: quants differ in arithmetic, measured in docs/machines.md.
"""

SpeedOf = Callable[[Target, QuantSize, Memory], Speed | None]


def estimator(info: ModelInfo, types_of: Callable[[str], Sequence[str]] | None = None) -> SpeedOf:
    """Speeds of one model: (target, size, memory) -> tokens/s; None where no bandwidth is known.

    `types_of` gives the types of the tensors for a quant, where somebody has them already.
    """

    @cache
    def weights(quant: str) -> int:
        types = types_of(quant) if types_of else tensor_types(info, quant)[0]
        return bytes_per_token(info, types)

    def speed_of(target: Target, size: QuantSize, memory: Memory) -> Speed | None:
        if target.bandwidth is None:
            return None
        read = weights(size.quant) + memory.kv_cache_bytes / 2  # at the middle of the context
        low, likely, high = (
            share * target.bandwidth.bytes_per_second / read
            for share in SHARES[target.bandwidth.how]
        )
        return Speed(low, likely, high)

    return speed_of


def bytes_per_token(info: ModelInfo, types: Sequence[str]) -> int:
    """Bytes of weights that generating one token reads.

    All of them, but of an embedding that isn't the output too only one row, of the experts only
    those that are used, and of layers for predicting further tokens nothing.

    Args:
        info: the model.
        types: the type of each of its tensors, in their order.
    """
    tied = "output.weight" not in {tensor.name for tensor in info.tensors}
    figures = Figures(info)
    used, count = figures.number("expert_used_count"), figures.number("expert_count")
    active = min(used / count, 1.0) if count else 1.0
    skipped = prediction_layers(figures)
    return sum(
        _read(tensor, tensor_bytes(tensor.shape, kind), tied, active)
        for tensor, kind in zip(info.tensors, types, strict=True)
        if not skipped or layer_of(tensor.name) not in skipped
    )


def _read(tensor: TensorInfo, n_bytes: int, tied: bool, active: float) -> int:
    """Bytes of one tensor that a token reads; `active` is the share of experts that are used."""
    name = tensor.name
    if name.startswith("per_layer_token_embd") or (name.startswith("token_embd") and not tied):
        return n_bytes // max(tensor.shape[-1], 1)
    return round(n_bytes * active) if "_exps" in name else n_bytes
