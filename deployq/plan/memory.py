"""How much memory a loaded model takes: weights, what it keeps per token, and the compute buffer.

One sequence, batches of 512, one output per batch, flash attention: what llama-server reserves
for Ollama. Every figure comes from the header; tests/plan holds them against what
llama-fit-params (b11434) says.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from deployq.errors import ConfigError
from deployq.ggml import TYPES
from deployq.plan.architectures import INDEXED, KNOWN, LATENT, NO_CACHE
from deployq.plan.cache import layer_shapes
from deployq.plan.compute import Moments, compute_bytes, widest_moments
from deployq.plan.figures import Figures
from deployq.types import Memory, ModelInfo, QuantSize

CACHE_TYPES = ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL")

BOUND_FACTOR = 2
"""The compute buffer of an architecture that nobody measured is taken to be so much larger."""

CPU_FIGURES = (
    "compute buffers are those of llama.cpp's CPU build; those of its builds for GPUs were not "
    "measured"
)


class MemoryModel:
    """One model's memory, for any quant, context and cache type.

    What doesn't depend on these is looked at once.
    """

    def __init__(self, info: ModelInfo) -> None:
        self.info = info
        self._figures = Figures(info)
        margin = 1 if info.architecture in KNOWN - INDEXED else BOUND_FACTOR
        self._moments = Moments(*(margin * n for n in widest_moments(self._figures)))
        shapes = layer_shapes(self._figures)
        self._alike = tuple(Counter(replace(shape, layer=0) for shape in shapes).items())
        self._state = max((shape.state for shape in shapes), default=0)

    def predict(
        self,
        size: QuantSize,
        n_ctx: int,
        cache_type: str = "f16",
        *,
        n_seq: int = 1,
        n_outputs: int = 1,
    ) -> Memory:
        """Memory while the model is served.

        Args:
            size: of the quant that is loaded.
            n_ctx: context in tokens, of each sequence.
            cache_type: of the KV cache, "f16", or of keys and values apart, "q8_0/f16".
            n_seq: sequences at the same time (OLLAMA_NUM_PARALLEL), each with its own cache.
            n_outputs: tokens of a batch whose logits are kept; llama-fit-params takes 512.

        Raises:
            ConfigError: the cache type is none that llama.cpp knows.
        """
        keys, values = parse_cache_type(cache_type)
        caches = [(shape.at(n_ctx), count) for shape, count in self._alike]
        kept = sum(count * cache.bytes(keys, values) for cache, count in caches)
        masks = {cache.windowed: cache.cells for cache, _ in caches if cache.cells}
        compute = compute_bytes(
            self._figures, self._moments, masks.values(), n_seq * self._state, n_outputs
        )
        weights = size.file_bytes - self.info.header_bytes + self.info.projector_bytes
        return Memory(weights, n_seq * kept, compute)


def predict(
    info: ModelInfo, size: QuantSize, n_ctx: int, cache_type: str = "f16", *, n_seq: int = 1
) -> Memory:
    """`MemoryModel.predict` for one question.

    Raises:
        ConfigError: the cache type is none that llama.cpp knows.
    """
    return MemoryModel(info).predict(size, n_ctx, cache_type, n_seq=n_seq)


def parse_cache_type(text: str) -> tuple[str, str]:
    """The tensor types of keys and values in "f16" or "q8_0/f16".

    Raises:
        ConfigError: one of them is unknown.
    """
    parts = [part.strip().upper() for part in text.split("/")]
    if not 1 <= len(parts) <= 2 or any(part not in CACHE_TYPES for part in parts):
        known = ", ".join(name.lower() for name in CACHE_TYPES)
        raise ConfigError(
            f"there is no KV cache type {text!r}", hint=f"one of {known}, or two as in q8_0/f16"
        )
    return parts[0], parts[-1]


def cache_problem(info: ModelInfo, cache_type: str) -> str:
    """Why llama.cpp would not load this model with that cache type; empty where it would.

    Its rules (src/llama-context.cpp): blocks must divide a head's width, and where values are
    read out of the keys, both have one type. Quantized values need flash attention, which
    Ollama turns on by itself where the type asks for it.
    """
    keys, values = parse_cache_type(cache_type)
    figures = Figures(info)
    if figures.latent and info.architecture in LATENT and keys != values:
        return f"latent attention has one cache for keys and values: {cache_type} names two types"
    default = figures.width // max(figures.layer("attention.head_count", 0), 1)
    for what, kind in (("key", keys), ("value", values)):
        length = figures.number(f"attention.{what}_length", default)
        if length and length % TYPES[kind].block:
            return (
                f"{what}s of {length} per head can't be kept as {kind.lower()}, whose blocks have "
                f"{TYPES[kind].block}"
            )
    return ""


def upper_bound_reason(info: ModelInfo) -> str:
    """Why the prediction is an upper bound only; empty where the architecture's rules are known."""
    name = info.architecture
    if name in INDEXED:
        return f"an upper bound: the compute buffer of {name!r} (sparse attention) was not measured"
    if name in KNOWN - NO_CACHE:
        return ""
    if name in NO_CACHE:
        return (
            f"an upper bound: {name!r} keeps nothing from token to token, Ollama can't chat with it"
        )
    return (
        f"an upper bound: the architecture {name!r} is not known to this version, so every layer "
        "is taken to keep keys and values of the whole context"
    )
