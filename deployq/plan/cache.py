"""What a model keeps from token to token: keys and values, or a state, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from deployq.ggml import TYPES, padded
from deployq.plan.architectures import INDEXED, LATENT, attends, recurrent, repeats, unknown, window
from deployq.plan.figures import Figures
from deployq.records import dataclass
from deployq.serving import DEFAULT_BATCH

CELLS = 256  # llama.cpp pads the cells of a KV cache to this
UNKNOWN_INDEX = 4
"""Rows of an index that an unknown architecture is taken to keep: no known one has more."""
_F32 = 4


@dataclass(frozen=True)
class LayerCache:
    """What one layer keeps: elements of a key and of a value per cell, and cells per sequence.

    Layers with a window have a cache of their own, with its own mask. `state` are the F32
    elements of a recurrent layer, whatever the context.
    """

    layer: int
    key_width: int = 0
    value_width: int = 0
    cells: int = 0
    windowed: bool = False
    state: int = 0

    def bytes(self, keys: str, values: str) -> int:
        """Bytes per sequence, with these tensor types of keys and values."""
        row = row_bytes(self.key_width, keys) + row_bytes(self.value_width, values)
        return self.cells * row + _F32 * self.state


@dataclass(frozen=True)
class LayerShape:
    """The same whatever the context; `window` are the tokens looked back at, 0: all of them."""

    layer: int
    key_width: int = 0
    value_width: int = 0
    window: int = 0
    state: int = 0

    def at(self, n_ctx: int, n_batch: int = DEFAULT_BATCH) -> LayerCache:
        """What it keeps for one sequence of `n_ctx` tokens, in passes of `n_batch` tokens."""
        cells = padded(n_ctx, CELLS) if self.key_width else 0
        if self.window:
            cells = padded(min(cells, self.window + n_batch), CELLS)
        windowed = self.window > 0
        return LayerCache(self.layer, self.key_width, self.value_width, cells, windowed, self.state)


def layer_shapes(figures: Figures) -> tuple[LayerShape, ...]:
    """What the layers keep; those that keep nothing are out.

    A layer that has both attention and a state stands in it twice.
    """
    once = tuple(shape for n in range(figures.blocks) for shape in _of_layer(figures, n))
    return once * repeats(figures) + _router(figures)


def _router(figures: Figures) -> tuple[LayerShape, ...]:
    """The one head that chooses among the adapters of a Granite Switch, behind all layers."""
    if figures.architecture != "graniteswitch":
        return ()
    last = figures.blocks - 1
    one = _attention(figures, last)
    heads = max(1, figures.layer("attention.head_count_kv", last, 1))
    return (LayerShape(last, one.key_width // heads, one.value_width // heads),)


def layer_caches(
    figures: Figures, n_ctx: int, n_batch: int = DEFAULT_BATCH
) -> tuple[LayerCache, ...]:
    """What the layers keep for one sequence of `n_ctx` tokens, in passes of `n_batch` tokens."""
    return tuple(shape.at(n_ctx, n_batch) for shape in layer_shapes(figures))


def widened(shape: LayerShape, shapes: Iterable[LayerShape]) -> LayerShape:
    """The shape without flash attention, where values of all layers are kept equally wide.

    They are kept transposed then (src/llama-kv-cache.cpp, `n_embd_v_gqa_max`).
    """
    if not shape.value_width:
        return shape
    return replace(shape, value_width=max(one.value_width for one in shapes))


def row_bytes(width: int, type_name: str) -> int:
    """Bytes of `width` elements."""
    kind = TYPES[type_name]
    return -(-width // kind.block) * kind.block_bytes


def _of_layer(figures: Figures, n: int) -> Iterator[LayerShape]:
    if attends(figures, n):
        shape = _attention(figures, n)
        if shape.key_width:
            yield shape
        if (index := figures.number("attention.indexer.key_length")) and _indexed(figures):
            yield LayerShape(n, index * (UNKNOWN_INDEX if unknown(figures) else 1))
    if recurrent(figures, n) and (state := _state(figures)):
        yield LayerShape(n, state=state)


def _indexed(figures: Figures) -> bool:
    return figures.architecture in INDEXED or unknown(figures)


def _attention(figures: Figures, n: int) -> LayerShape:
    heads = figures.layer("attention.head_count", n)
    kv_heads = figures.layer("attention.head_count_kv", n, heads)
    tokens = window(figures, n)
    suffix = "_swa" if tokens and figures.has("attention.key_length_swa") else ""
    default = figures.width // max(figures.layer("attention.head_count", 0), 1)
    key = figures.number(f"attention.key_length{suffix}", default)
    value = figures.number(f"attention.value_length{suffix}", default)
    if figures.latent and figures.architecture in LATENT:
        value = 0  # latent attention reads its values out of the keys
    return LayerShape(n, kv_heads * key, kv_heads * value, tokens)


def _state(figures: Figures) -> int:
    """Elements of a recurrent layer's state: what a convolution remembers, and the state proper.

    llama.cpp, src/llama-hparams.cpp, `n_embd_r` and `n_embd_s`.
    """
    width = figures.width
    conv = figures.number("ssm.conv_kernel")
    if head := figures.number("wkv.head_size"):
        return figures.number("token_shift_count", 2) * width + width * head
    if length := figures.number("shortconv.l_cache"):
        return width * (length - 1)
    if head := figures.number("kda.head_dim"):
        heads = figures.layer("attention.head_count", 0)
        return 3 * (conv - 1 if conv else 3) * heads * head + heads * head * head
    if figures.architecture == "minimax-01":
        heads = figures.layer("attention.head_count", 0)
        head = figures.number("attention.key_length", width // max(heads, 1))
        return head * head * heads
    inner, state = figures.number("ssm.inner_size"), figures.number("ssm.state_size")
    groups = figures.number("ssm.group_count")
    return max(conv - 1, 0) * (inner + 2 * groups * state) + inner * state
