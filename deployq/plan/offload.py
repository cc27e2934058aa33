"""A model that is too large for a card: what the card would hold, and what stays in RAM.

llama.cpp gives a card whole layers, the last ones first, the output as the very last; the token
embedding always stays in RAM (b11434, src/llama-model.cpp, `load_tensors`). How much slower that
is follows from the bytes that each side reads per token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate

from deployq.ggml import tensor_bytes
from deployq.types import Memory, ModelInfo, Offload, Target

RAM_BYTES_PER_SECOND = 50e9
"""What two channels of DDR4-3200 read at (51.2 GB/s by JEDEC's figures); the RAM beside a card
is not described by its target."""

_EMBEDDING = "token_embd"


def layer_bytes(info: ModelInfo, types: Sequence[str]) -> list[int]:
    """Bytes of weights per layer that a card can take, in order; the output is the last.

    The embedding, which never goes there, is not in it, unless it is the output too.

    Args:
        info: the model.
        types: the type of each of its tensors, in their order.
    """
    names = {tensor.name.partition(".")[0] for tensor in info.tensors}
    layers: dict[int, int] = {}
    output = 0
    for tensor, kind in zip(info.tensors, types, strict=True):
        n_bytes = tensor_bytes(tensor.shape, kind)
        if match := re.match(r"blk\.(\d+)\.", tensor.name):
            layers[int(match[1])] = layers.get(int(match[1]), 0) + n_bytes
        elif not tensor.name.startswith(_EMBEDDING) or "output" not in names:
            output += n_bytes
    return [*(layers[n] for n in sorted(layers)), output]


def offload(layers: list[int], memory: Memory, target: Target) -> Offload | None:
    """How much of a model a card that is too small would hold; None if not even one layer.

    Args:
        layers: weights per layer, as `layer_bytes` gives them.
        memory: of the whole model on the card; its KV cache is shared out evenly over the layers.
        target: the card.
    """
    blocks = len(layers) - 1
    per_layer = memory.kv_cache_bytes // max(blocks, 1)
    costs = [layers[-1], *(n_bytes + per_layer for n_bytes in reversed(layers[:-1]))]
    room = target.budget_bytes - memory.compute_bytes
    filled = [total for total in accumulate(costs) if total <= room]
    if not filled or not blocks:
        return None
    on_card = filled[-1]
    in_ram = memory.weights_bytes + memory.kv_cache_bytes - on_card
    return Offload(
        gpu_layers=len(filled),
        layers=len(layers),
        vram_bytes=on_card + memory.compute_bytes,
        ram_bytes=max(0, in_ram),
        slowdown=_slowdown(sum(costs), on_card, target),
    )


def _slowdown(total_bytes: int, on_card: int, target: Target) -> float | None:
    """Time per token, shared, over that of a card with room for all: both read every layer."""
    if target.bandwidth is None or not total_bytes:
        return None
    card = target.bandwidth.bytes_per_second
    seconds = on_card / card + (total_bytes - on_card) / RAM_BYTES_PER_SECOND
    return max(1.0, seconds / (total_bytes / card))
