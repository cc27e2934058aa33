"""How much memory a loaded model takes: weights, what it keeps per token, and the compute buffer.

What llama-server reserves when Ollama starts it: one output per sequence, and passes as large as
Ollama chooses them (deployq/serving.py). Every figure comes from the header; tests/plan holds
them against what llama-fit-params (b11434) says, docs/planning.md against a real Ollama.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache

from deployq.errors import ConfigError
from deployq.ggml import TYPES
from deployq.plan.architectures import INDEXED, KNOWN, LATENT, NO_CACHE
from deployq.plan.cache import layer_shapes, widened
from deployq.plan.compute import SCORES_KEPT, Moments, Pass, compute_bytes, widest_moments
from deployq.plan.figures import Figures
from deployq.serving import batch_of_context
from deployq.types import Memory, ModelInfo, QuantSize, Serving

CACHE_TYPES = ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL")

ALONE = Serving()
"""One request at a time, with flash attention."""

BOUND_FACTOR = 2
"""The compute buffer of an architecture that nobody measured is taken to be so much larger."""

CPU_FIGURES = (
    "compute buffers are those of llama.cpp's CPU build; those of its builds for GPUs were not "
    "measured"
)

ONE_REQUEST = (
    "one request at a time is assumed, Ollama's default; its API doesn't show OLLAMA_NUM_PARALLEL: "
    "write parallel = N for a target whose server has more"
)


class MemoryModel:
    """One model's memory, for any quant, context and cache type.

    What doesn't depend on these is looked at once; what only the weights change, once per context,
    cache type and way of serving.
    """

    def __init__(self, info: ModelInfo) -> None:
        self.info = info
        self._figures = Figures(info)
        margin = 1 if info.architecture in KNOWN - INDEXED - NO_CACHE else BOUND_FACTOR
        self._moments = Moments(*(margin * n for n in widest_moments(self._figures)))
        shapes = layer_shapes(self._figures)
        self._alike = tuple(Counter(replace(shape, layer=0) for shape in shapes).items())
        self._transposed = tuple((widened(shape, shapes), count) for shape, count in self._alike)
        self._state = max((shape.state for shape in shapes), default=0)
        self._empty = cache(self._without_weights)

    def predict(
        self,
        size: QuantSize,
        n_ctx: int,
        cache_type: str = "f16",
        serving: Serving = ALONE,
        *,
        available_bytes: int = 0,
        n_outputs: int | None = None,
    ) -> Memory:
        """Memory while the model is served.

        Args:
            size: of the quant that is loaded.
            n_ctx: context in tokens, of each sequence.
            cache_type: of the KV cache, "f16", or of keys and values apart, "q8_0/f16".
            serving: how the server runs it.
            available_bytes: what a GPU has, for Ollama's choice of the batch; 0: RAM.
            n_outputs: tokens of a pass whose logits are kept; None: one per sequence, as a server
                does. llama-fit-params keeps 512.

        Raises:
            ConfigError: the cache type is none that llama.cpp knows.
        """
        n_batch = self.batch(size, n_ctx, serving, available_bytes)
        largest = Pass(
            n_batch, serving.parallel, n_outputs or serving.parallel, serving.flash_attention
        )
        weights = size.file_bytes - self.info.header_bytes + self.info.projector_bytes
        return replace(self._empty(n_ctx, cache_type, largest), weights_bytes=weights)

    def batch(
        self, size: QuantSize, n_ctx: int, serving: Serving = ALONE, available_bytes: int = 0
    ) -> int:
        """Tokens of the largest pass: as the parameters say, else as Ollama chooses."""
        all_ctx = n_ctx * serving.parallel
        chosen = serving.num_batch or batch_of_context(
            all_ctx, self._ollamas_estimate(size, all_ctx), available_bytes
        )
        return min(chosen, all_ctx)

    def _ollamas_estimate(self, size: QuantSize, all_ctx: int) -> int:
        """Ollama's own estimate of a model on a GPU (`PredictServerVRAM`, llm/llama_server.go).

        It decides about the batch, and only about that.
        """
        figures = self._figures
        key = "attention.head_count_kv"
        heads = int(max(min(figures.array(key) or (figures.number(key),)), 1))
        width = figures.width // max(figures.number("attention.head_count"), 1)
        return size.file_bytes + 4 * figures.blocks * heads * width * all_ctx

    def _without_weights(self, n_ctx: int, cache_type: str, largest: Pass) -> Memory:
        keys, values = parse_cache_type(cache_type)
        caches = [
            (shape.at(n_ctx, largest.n_tokens), count)
            for shape, count in (self._alike if largest.flash_attention else self._transposed)
        ]
        kept = sum(count * one.bytes(keys, values) for one, count in caches)
        masks = {one.windowed: one.cells for one, _ in caches if one.cells}
        compute = compute_bytes(self._figures, self._moments, masks.values(), self._state, largest)
        # Ollama reads sizes from llama-server's log, where the caches with and without a window
        # have one name: only the one that is named last, with a window, counts. Projectors aren't
        # in that log.
        hidden = sum(
            count * one.bytes(keys, values)
            for one, count in caches
            if True in masks and one.cells and not one.windowed
        )
        return Memory(
            weights_bytes=0,
            kv_cache_bytes=largest.n_seq * kept,
            compute_bytes=compute,
            n_batch=largest.n_tokens,
            unlisted_bytes=largest.n_seq * hidden + self.info.projector_bytes,
        )


def predict(
    info: ModelInfo,
    size: QuantSize,
    n_ctx: int,
    cache_type: str = "f16",
    serving: Serving = ALONE,
) -> Memory:
    """`MemoryModel.predict` for one question.

    Raises:
        ConfigError: the cache type is none that llama.cpp knows.
    """
    return MemoryModel(info).predict(size, n_ctx, cache_type, serving)


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


def cache_problem(info: ModelInfo, cache_type: str, flash_attention: bool = True) -> str:
    """Why llama.cpp would not load this model with that cache type; empty where it would.

    Its rules (src/llama-context.cpp): blocks must divide a head's width, and where values are
    read out of the keys, both have one type. Quantized values need flash attention, which
    llama.cpp turns on by itself unless the server was started without it.
    """
    keys, values = parse_cache_type(cache_type)
    without = not flash_attention or info.architecture in SCORES_KEPT
    if without and TYPES[values].block > 1:
        return f"values of type {values.lower()} need flash attention"
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
