"""What an upper bound on the compute buffer has beside the widest moment of a layer.

For architectures whose passes were not followed value by value: those that deployq doesn't know,
sparse attention, encoders. Every figure is what llama-fit-params (b11434) was seen to reserve at
most, at contexts up to 262144; tests/data/judged has its answers.
"""

from __future__ import annotations

from collections.abc import Collection

from deployq.plan.architectures import INDEXED, NO_CACHE, unknown
from deployq.plan.figures import Figures

_F32 = 4
_F16 = 2
_INDEX = 10
"""Bytes per token and cell that an index of sparse attention takes beside the mask: its own mask,
its scores, and their order. One that deployq doesn't know may have one, too."""

_BLOCK_INDEX = 9
"""Bytes per token, cell and head of an index that chooses blocks of cells (MiniMax M3)."""

_BIASED_SCORES = 3
"""Scores are kept so often where a bias is added to them, which rules out flash attention (T5)."""


def bound_bytes(figures: Figures, masks: Collection[int], n_tokens: int) -> int:
    """Bytes that a pass may take beside the widest moment and the masks of the caches.

    Args:
        figures: of the model.
        masks: cells of the caches of layers with and without a window.
        n_tokens: of the largest pass.
    """
    if figures.architecture in NO_CACHE:
        return 2 * _F16 * n_tokens * n_tokens  # tokens look at each other, with and without window
    if not (unknown(figures) or figures.architecture in INDEXED):
        return 0
    names = [tensor.name for tensor in figures.info.tensors]
    encoder = any(n.startswith("enc.") for n in names) and not any(n[:4] == "dec." for n in names)
    cells = n_tokens if encoder else max(sum(masks), n_tokens)
    per_cell = _INDEX
    if figures.has("attention.indexer.block_size"):
        per_cell += _BLOCK_INDEX * figures.number("attention.indexer.head_count")
    if any("attn_rel_b" in name for name in names):
        heads = figures.number("attention.head_count")
        per_cell += _F32 * (_BIASED_SCORES * heads + 1)
    across = 0
    if any(".cross_attn_" in name for name in names):
        # The encoder's output, keys and values of it, and a mask, for all that it may have read.
        read = figures.number("context_length")
        across = read * (3 * _F32 * figures.width + _F32 * n_tokens)
    return per_cell * n_tokens * cells + across
