"""How much memory a loaded model takes: weights, KV cache and compute buffer, layer by layer.

One sequence, batches of 512, one output per batch, flash attention: what llama-server reserves
for Ollama. Every figure comes from the header; tests/plan holds them against what
llama-fit-params (b11434) says.
"""

from __future__ import annotations

from dataclasses import dataclass

from deployq.errors import ConfigError
from deployq.ggml import TYPES, padded
from deployq.types import Memory, ModelInfo, QuantSize

CACHE_TYPES = ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL")
_CELLS = 256  # llama.cpp pads the cells of a KV cache to this
_UBATCH = 512
_F32 = 4

# Architectures whose prediction was held against llama-fit-params b11434.
MEASURED = frozenset(
    {
        "deci", "deepseek2", "ernie4_5", "exaone", "gemma", "gemma2", "gemma3", "granite",
        "internlm2", "llama", "minicpm", "mistral3", "olmo2", "phi3", "qwen2", "qwen3",
        "qwen3moe", "smollm3",
    }
)  # fmt: skip

# Of every N layers the last has full attention, the others a sliding window (llama.cpp
# src/models/*.cpp, `set_swa_pattern`), where the header doesn't say so itself.
_FULL_EVERY = {"gemma2": 2, "gemma3": 6}


@dataclass(frozen=True)
class _Layer:
    """Attention of one layer: key and value elements per cell, and cells.

    Layers with a window have a cache of their own, with its own mask.
    """

    key_width: int
    value_width: int
    cells: int
    windowed: bool


def predict(info: ModelInfo, size: QuantSize, n_ctx: int, cache_type: str = "f16") -> Memory:
    """Memory of a model while it is served.

    Args:
        info: the model.
        size: of the quant that is loaded.
        n_ctx: context in tokens.
        cache_type: of the KV cache, "f16", or of keys and values apart, "q8_0/f16".

    Raises:
        ConfigError: the cache type is none that llama.cpp knows.
    """
    keys, values = parse_cache_type(cache_type)
    layers = [layer for n in range(_layers(info)) if (layer := _layer(info, n, n_ctx))]
    kv = sum(
        layer.cells * (_row_bytes(layer.key_width, keys) + _row_bytes(layer.value_width, values))
        for layer in layers
    )
    caches = {layer.windowed: layer.cells for layer in layers}
    return Memory(
        weights_bytes=size.file_bytes - info.header_bytes,
        kv_cache_bytes=kv + _recurrent_bytes(info),
        compute_bytes=_compute_bytes(info, sum(caches.values())),
    )


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


def upper_bound_reason(info: ModelInfo) -> str:
    """Why the prediction is an upper bound only; empty where it was held against the tool."""
    if info.architecture in MEASURED:
        return ""
    return f"an upper bound: the architecture {info.architecture!r} was not measured"


def _number(info: ModelInfo, key: str, default: int = 0) -> int:
    """A figure of the model; of one given per layer, the largest."""
    full = f"{info.architecture}.{key}"
    if values := info.arrays.get(full):
        return int(max(values))
    value = info.metadata.get(full, default)
    return int(value) if isinstance(value, int | float) else default


def _per_layer(info: ModelInfo, key: str, layer: int, default: int) -> int:
    values = info.arrays.get(f"{info.architecture}.{key}", ())
    return int(values[layer]) if layer < len(values) else _number(info, key, default)


def _layers(info: ModelInfo) -> int:
    """Layers of the model; a header can't make this more than there are tensors."""
    return min(_number(info, "block_count"), len(info.tensors))


def _layer(info: ModelInfo, n: int, n_ctx: int) -> _Layer | None:
    """Layer `n`'s share of the KV cache; None where it keeps none."""
    heads = _per_layer(info, "attention.head_count", n, 0)
    kv_heads = _per_layer(info, "attention.head_count_kv", n, heads)
    if not kv_heads:
        return None
    window, suffix = _window(info, n), ""
    if window and f"{info.architecture}.attention.key_length_swa" in info.metadata:
        suffix = "_swa"
    default = _number(info, "embedding_length") // max(heads, 1)
    key = _number(info, f"attention.key_length{suffix}", default)
    value = _number(info, f"attention.value_length{suffix}", default)
    if _number(info, "attention.key_length_mla"):
        value = 0  # latent attention reads its values out of the keys
    cells = min(n_ctx, window + _UBATCH) if window else n_ctx
    return _Layer(kv_heads * key, kv_heads * value, padded(cells, _CELLS), bool(window))


def _window(info: ModelInfo, n: int) -> int:
    """Tokens that layer `n` looks back at; 0: all of them."""
    window = _number(info, "attention.sliding_window")
    pattern = info.arrays.get(f"{info.architecture}.attention.sliding_window_pattern")
    if pattern:
        return window if n < len(pattern) and pattern[n] else 0
    every = _FULL_EVERY.get(info.architecture, 1)
    return window if n % every < every - 1 else 0


def _row_bytes(width: int, type_name: str) -> int:
    kind = TYPES[type_name]
    return -(-width // kind.block) * kind.block_bytes


def _recurrent_bytes(info: ModelInfo) -> int:
    """F32 state of Mamba and RWKV layers, as if every layer had one."""
    inner, state = _number(info, "ssm.inner_size"), _number(info, "ssm.state_size")
    groups, conv = _number(info, "ssm.group_count"), _number(info, "ssm.conv_kernel")
    embd, head = _number(info, "embedding_length"), _number(info, "wkv.head_size")
    mamba = max(conv - 1, 0) * (inner + 2 * groups * state) + inner * state
    rwkv = embd * head + 2 * embd if head else 0
    return _F32 * _layers(info) * (mamba + rwkv)


def _compute_bytes(info: ModelInfo, cells: int) -> int:
    """The compute buffer: the widest moment of a layer, the attention mask, and one output.

    Per token of a batch the widest moment is three rows of the feed-forward part and five of the
    model's width, or with experts the outputs of all used ones twice and six rows: within
    0.1 MiB of llama-fit-params on all of `MEASURED`. Others get twice that.
    """
    width, used = _number(info, "embedding_length"), _number(info, "expert_used_count")
    experts = used * _number(
        info, "expert_feed_forward_length", _number(info, "feed_forward_length")
    )
    ff = max(_number(info, "feed_forward_length"), experts)
    rows = max(3 * ff + 5 * width, (2 * used + 6) * width if used else 0)
    margin = 1 if info.architecture in MEASURED else 2
    mask = 2 * _UBATCH * cells
    output = _F32 * _vocabulary(info)
    return margin * _F32 * _UBATCH * rows + mask + output


def _vocabulary(info: ModelInfo) -> int:
    tokens = info.array_lengths.get("tokenizer.ggml.tokens", 0)
    return tokens or _number(info, "vocab_size")
