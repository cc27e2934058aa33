"""The compute buffer of llama.cpp's CPU build: the widest moment of its largest pass.

ggml's allocator reuses memory as soon as a value is done with, so the buffer is as large as what
is alive at the widest moment. Which moment that is, and what is alive then, was found by asking
llama-fit-params (b11434) about headers of many architectures; tests/data/judged has its answers,
docs/planning.md how far off this is. Builds for GPUs were not measured.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from deployq.plan.architectures import LATENT
from deployq.plan.bounds import bound_bytes
from deployq.plan.figures import Figures
from deployq.records import dataclass

_F32 = 4
_F16 = 2
SCORES_KEPT = frozenset({"grok"})
"""Attention without flash attention (its scores are capped in a way of its own)."""

MORE_ROWS = {
    "afmoe": 1, "granitehybrid": 1, "llama4": 1, "plamo2": 1, "smallthinker": 2, "step35": 3,
}  # fmt: skip
"""Architectures that keep more rows of the model's width than others do (measured)."""

_LAYER = re.compile(r"(?:enc\.|dec\.)?blk\.\d+\.(.+)")


@dataclass(frozen=True)
class Parts:
    """The largest of each kind of tensor over all layers: part of the name -> (row, rows)."""

    shapes: dict[str, tuple[int, int]]

    def row(self, part: str) -> int:
        return self.shapes.get(part, (0, 0))[0]

    def rows(self, part: str) -> int:
        return self.shapes.get(part, (0, 0))[1]

    def has(self, *parts: str) -> bool:
        return any(part in self.shapes for part in parts)


def parts(figures: Figures) -> Parts:
    """What the layers are made of."""
    shapes: dict[str, tuple[int, int]] = {}
    for tensor in figures.info.tensors:
        if match := _LAYER.fullmatch(tensor.name):
            name = match[1].removesuffix(".weight")
            shape = (*tensor.shape, 1, 1)[:2]
            shapes[name] = max(shapes.get(name, (0, 0)), (shape[0], shape[1]))
    return Parts(shapes)


class Moments(NamedTuple):
    """F32 values per token that are alive at the widest moment of a layer.

    `recurrent` is that of a recurrent layer, beside which its states are alive; 0: there is none.
    `scored` is that of attention without flash attention, beside which the scores of all heads
    for all cells are alive.
    """

    plain: int
    recurrent: int
    scored: int


def widest_moments(figures: Figures) -> Moments:
    """The widest moments of all layers."""
    found, beside = parts(figures), _beside(figures)
    plain = (
        *_feed_forward(figures, found),
        _experts(figures, found),
        _latent_attention(figures),
        _attention(found, figures.width),
    )
    recurrent = max(_recurrent(figures), default=0)
    return Moments(
        max(plain) + beside,
        recurrent + beside if recurrent else 0,
        max(_scored_attention(figures), _latent_attention(figures)) + beside,
    )


@dataclass(frozen=True)
class Pass:
    """The largest pass that a server makes room for.

    `n_tokens` of `n_seq` sequences go through the model together; the logits of `n_outputs` of
    them are kept.
    """

    n_tokens: int
    n_seq: int = 1
    n_outputs: int = 1
    flash_attention: bool = True


def compute_bytes(
    figures: Figures, moments: Moments, masks: Collection[int], state: int, largest: Pass
) -> int:
    """Bytes of the compute buffer and of the output buffer.

    Args:
        figures: of the model.
        moments: of `widest_moments`.
        masks: cells of the caches of layers with and without a window; each has its mask.
        state: F32 values of one recurrent layer's states, of one sequence.
        largest: the largest pass.
    """
    plain, recurrent, scored = moments
    n_tokens = largest.n_tokens
    if not largest.flash_attention or figures.architecture in SCORES_KEPT:
        scores = figures.number("attention.head_count") * max(masks, default=0)
        plain = max(plain, scores + scored if scores else 0)
    states = largest.n_seq * state if recurrent else 0
    kept = _F32 * max(n_tokens * plain, n_tokens * recurrent + states)
    if largest.n_outputs > 1:
        kept = max(kept, _F32 * largest.n_outputs * (figures.vocabulary + 5 * figures.width))
    mask = (_F16 if largest.flash_attention else _F32) * n_tokens * sum(masks)
    mask += bound_bytes(figures, masks, n_tokens)
    return kept + mask + _F32 * largest.n_seq * figures.vocabulary


def _feed_forward(figures: Figures, found: Parts) -> Iterator[int]:
    """Gate, up and their product (without a gate: one), and five rows of the model's width."""
    width = figures.width
    serial = found.has("ffn_norm", "post_attention_norm", "post_ffw_norm", "ffn_sub_norm")
    rows = (5 if serial else 6) + MORE_ROWS.get(figures.architecture, 0)
    for up, down, gate in (
        ("ffn_up", "ffn_down", "ffn_gate"),
        ("ffn_up_shexp", "ffn_down_shexp", "ffn_gate_shexp"),
        ("channel_mix_key", "channel_mix_value", ""),
    ):
        wide = found.row(down) or found.rows(up)
        gated = found.has(gate) or found.rows(up) >= 2 * wide
        if wide:
            yield (3 if gated else 1) * wide + rows * width


def _experts(figures: Figures, found: Parts) -> int:
    """The same for all experts that are used; their outputs, where gate and up are narrower."""
    used, width = figures.number("expert_used_count"), figures.width
    wide = found.row("ffn_down_exps")
    if not used or not wide:
        return 0
    gated = found.has("ffn_gate_exps", "ffn_gate_up_exps")
    inner = (3 if gated else 1) * wide
    outputs = width if width > 2 * wide or not gated else 0
    beside = 5 + MORE_ROWS.get(figures.architecture, 0)
    return used * (inner + outputs) + beside * width


def _latent_attention(figures: Figures) -> int:
    """Queries as they come, their rotated part, in the latent space, and both joined."""
    if not (figures.latent and figures.architecture in LATENT):
        return 0
    each = (
        figures.number("attention.key_length_mla")
        + figures.number("rope.dimension_count")
        + figures.number("attention.kv_lora_rank")
        + figures.number("attention.key_length")
    )
    return figures.number("attention.head_count") * each + 5 * figures.width


def _attention(found: Parts, width: int) -> int:
    """Queries, keys and values before and after their rotation."""
    queries = found.rows("attn_q") or found.rows("attn_qkv")
    return 2 * queries + 2 * found.rows("attn_k") + found.rows("attn_v") + 3 * width


def _scored_attention(figures: Figures) -> int:
    """What is alive beside the scores: queries and keys in three and two forms, rows of the width.

    Found in the same way, by asking with `-fa off`.
    """
    heads, width = figures.number("attention.head_count"), figures.width
    key = figures.number("attention.key_length", width // max(heads, 1))
    kv_heads = figures.number("attention.head_count_kv", heads)
    return max(7 * width, 3 * width + (3 * heads + 2 * kv_heads) * key)


def _recurrent(figures: Figures) -> Iterator[int]:
    """Six times a state-space layer's inner width; many times the width of an RWKV one."""
    if figures.has("wkv.head_size"):
        yield (15 if figures.architecture.startswith("rwkv6") else 20) * figures.width
    if inner := figures.number("ssm.inner_size"):
        yield 6 * inner + (4 if figures.number("ssm.group_count") else 3) * figures.width


def _beside(figures: Figures) -> int:
    """What stays alive through all layers: embeddings per layer, further streams, images' inputs.

    Measured on gemma3n, gemma4, qwen3vl and qwen3vlmoe.
    """
    per_layer = figures.number("embedding_length_per_layer_input")
    streams = 5 * figures.width if figures.architecture == "gemma3n" else 0
    images = figures.number("n_deepstack_layers")
    each = 4 if figures.number("expert_count") else 3
    deep = (each * images + 1) * figures.width if images else 0
    return (per_layer * (figures.blocks + 3) if per_layer else 0) + streams + deep
