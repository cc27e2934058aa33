"""A model on a card: what lies there, and what stays in RAM.

llama.cpp gives a card whole layers, the last ones first, the output as the very last. What is
only looked up row by row (the embeddings of tokens, of positions, of tokens per layer) always
stays in RAM; where the embedding is the output too, the card has a second copy of it (b11434:
`load_tensors` in src/llama-model.cpp, `create_tensor` in src/llama-model-loader.cpp, the table of
layers in src/llama-arch.cpp). How much slower a shared model is follows from the bytes that each
side reads per token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate

from deployq.ggml import padded, tensor_bytes
from deployq.plan.architectures import prediction_layers
from deployq.plan.cache import layer_caches
from deployq.plan.figures import Figures
from deployq.plan.memory import parse_cache_type
from deployq.records import dataclass
from deployq.serving import DEFAULT_BATCH
from deployq.types import Memory, ModelInfo, Offload, Target, TensorInfo

RAM_BYTES_PER_SECOND = 50e9
"""What two channels of DDR4-3200 read at (51.2 GB/s by JEDEC's figures); the RAM beside a card
is not described by its target."""

_EMBEDDING = "token_embd"
OUTPUT_FIRST = frozenset({"gemma3n", "gemma4"})
"""Architectures whose loader makes the output before the embedding that it is a copy of, and so
has both, in RAM too (src/models/gemma4.cpp); all others find the embedding and share it."""

REPACKED = frozenset({"Q4_0", "Q4_1", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL", "IQ4_XS"})
"""Types that builds for ARM (ggml/src/ggml-cpu/repack.cpp) or with AMX (amx/common.h) repack."""

LOOKED_UP = frozenset({_EMBEDDING, "position_embd", "token_types", "per_layer_token_embd"})
"""Tensors of llama.cpp's input layer."""

FIRST_LAYER = frozenset({"token_embd_norm", "per_layer_model_proj", "per_layer_proj_norm"})
"""Tensors without a layer in their name that go where the first layer goes."""


@dataclass(frozen=True)
class Lookups:
    """Bytes of the tensors that stay in RAM, and of the embedding where it is the output too."""

    ram_bytes: int
    second_copy_bytes: int

    def beside(self, memory: Memory) -> Memory:
        """The memory of a model that a card has wholly."""
        weights = memory.weights_bytes - self.ram_bytes + self.second_copy_bytes
        return replace(memory, weights_bytes=weights, host_bytes=self.ram_bytes)

    def twice(self, memory: Memory) -> Memory:
        """The memory of a model in RAM whose loader makes a copy of the embedding."""
        return replace(memory, weights_bytes=memory.weights_bytes + self.second_copy_bytes)


def lookups(info: ModelInfo, types: Sequence[str]) -> Lookups:
    """What a card doesn't get, and what it gets a copy of.

    Args:
        info: the model.
        types: the type of each of its tensors, in their order.
    """
    found = {
        role: padded(tensor_bytes(tensor.shape, kind))
        for tensor, kind, role in zip(info.tensors, types, _outside(info.tensors), strict=True)
        if role in LOOKED_UP
    }
    return Lookups(sum(found.values()), found.get(_EMBEDDING, 0) if _tied(info) else 0)


def repacked_copy_bytes(info: ModelInfo, types: Sequence[str]) -> int:
    """Bytes of the second copy of an embedding that llama.cpp keeps in RAM on some processors.

    Where its build repacks weights of that type for the processor, the output gets a buffer of its
    own, in which the embedding isn't found. 0 for models that have both in any case, or an output
    apart. On x86 without AMX no type that an output gets is repacked.
    """
    embedding = next((t for t, role in zip(types, _outside(info.tensors), strict=True)
                      if role == _EMBEDDING), "")  # fmt: skip
    if info.architecture in OUTPUT_FIRST or embedding not in REPACKED:
        return 0
    return lookups(info, types).second_copy_bytes


def skipped_bytes(info: ModelInfo, types: Sequence[str]) -> int:
    """Bytes of tensors that are in the file and not loaded: those of `prediction_layers`.

    Args:
        info: the model.
        types: the type of each of its tensors, in their order.
    """
    skipped = prediction_layers(Figures(info))
    if not skipped:
        return 0
    return sum(
        padded(tensor_bytes(tensor.shape, kind))
        for tensor, kind in zip(info.tensors, types, strict=True)
        if layer_of(tensor.name) in skipped
    )


def layer_of(name: str) -> int | None:
    """The layer that a tensor's name tells; None for one outside the layers."""
    match = re.match(r"blk\.(\d+)\.", name)
    return int(match[1]) if match else None


def layer_bytes(info: ModelInfo, types: Sequence[str]) -> list[int]:
    """Bytes of weights per layer that a card can take, in order; the output is the last.

    What is looked up, and never goes there, is not in it; an embedding that is the output too is.
    Layers that are not loaded count nothing, but they do count as layers.

    Args:
        info: the model.
        types: the type of each of its tensors, in their order.
    """
    tied, skipped = _tied(info), prediction_layers(Figures(info))
    layers: dict[int, int] = {}
    output = 0
    for tensor, kind, role in zip(info.tensors, types, _outside(info.tensors), strict=True):
        n_bytes = padded(tensor_bytes(tensor.shape, kind))
        if (layer := layer_of(tensor.name)) is not None:
            layers[layer] = layers.get(layer, 0) + (0 if layer in skipped else n_bytes)
        elif role in FIRST_LAYER:
            layers[0] = layers.get(0, 0) + n_bytes
        elif role not in LOOKED_UP or (tied and role == _EMBEDDING):
            output += n_bytes
    return [*(layers[n] for n in sorted(layers)), output]


def kept_bytes(info: ModelInfo, target: Target, n_batch: int = DEFAULT_BATCH) -> list[int]:
    """Bytes that each layer keeps from token to token; they lie where the layer lies."""
    keys, values = parse_cache_type(target.cache_type)
    kept = [0] * Figures(info).blocks
    for one in layer_caches(Figures(info), target.n_ctx, n_batch):
        kept[one.layer] += target.serving.parallel * one.bytes(keys, values)
    return kept


@lru_cache(maxsize=8)
def _outside(tensors: tuple[TensorInfo, ...]) -> tuple[str, ...]:
    """Their names without suffix, which tell what a tensor is that belongs to no layer."""
    return tuple(tensor.name.partition(".")[0] for tensor in tensors)


def _tied(info: ModelInfo) -> bool:
    return "output" not in _outside(info.tensors)


def offload(
    layers: Sequence[int], kept: Sequence[int], memory: Memory, target: Target
) -> Offload | None:
    """How much of a model a card that is too small would hold; None if not even one layer.

    Args:
        layers: weights per layer, as `layer_bytes` gives them.
        kept: what each keeps, as `kept_bytes` gives it.
        memory: of the whole model on the card, or on all cards.
        target: the card, or several: then `gpu_layers` counts those of all.
    """
    blocks = len(layers) - 1
    whole = [n + k for n, k in zip(layers, [*kept, *[0] * len(layers)], strict=False)]
    costs = [layers[-1], *reversed(whole[:-1])]
    projector = max(0, memory.weights_bytes - sum(layers))  # of no layer, on the card all the same
    fixed = memory.compute_bytes + projector
    filled = [total for total in accumulate(costs) if total <= target.budget_bytes - fixed]
    if not filled or not blocks:
        return None
    on_card = filled[-1]
    in_ram = memory.host_bytes + memory.weights_bytes - projector + memory.kv_cache_bytes - on_card
    return Offload(
        gpu_layers=len(filled),
        layers=len(layers),
        vram_bytes=on_card + fixed,
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
