"""Quants of a model: their names, and their exact sizes by llama-quantize's own arithmetic.

Follows llama.cpp b11434, src/llama-quant.cpp (`tensor_allows_quantization`,
`tensor_type_fallback`), without overrides; the mix itself is in mixes.py. tests/plan holds
the result against what that program says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterator
from functools import lru_cache
from typing import NamedTuple

from deployq.errors import SourceError
from deployq.ggml import TYPES, padded, tensor_bytes
from deployq.plan.architectures import repeats
from deployq.plan.catalogue import CATALOGUE, Quant, parse_quant, parse_quants
from deployq.plan.figures import Figures
from deployq.plan.mixes import Model, Seat, kind_of, role_of, wanted_type
from deployq.types import ModelInfo, QuantSize, TensorInfo

__all__ = ["CATALOGUE", "Quant", "own_size", "parse_quant", "parse_quants", "tensor_types"]

# Parts of names of tensors that stay as they are.
_KEPT = (
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel",
    "per_layer_model_proj", "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight",
    "indexer.q_proj.weight", "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight",
    "time_mix_w2.weight", "time_mix_v0.weight", "time_mix_v1.weight", "time_mix_v2.weight",
    "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight", "time_mix_g1.weight",
    "time_mix_g2.weight", "time_mix_decay_w1.weight", "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight", "attn_rel_b.weight", ".position_embd", "sam.pos_embd",
    "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd", ".patch_merger", "a.rvq.codebook",
    "mm.a.code_embd",
)  # fmt: skip
_KEPT_NAMES = ("position_embd.weight", "token_types.weight")
_KEPT_BY_ARCHITECTURE = {
    "glm5-next": (
        "hc_", "indexer.attn_q_b", "indexer.attn_k", "indexer.proj", "indexer_compressor_gate",
        "indexer_compressor_ape", "ssm_f_a.weight", "ssm_f_b.weight", "ssm_g_a.weight",
        "ssm_g_b.weight", "ssm_beta.weight", "attn_kv_a_mqa.weight", "attn_k_b.weight",
        "attn_v_b.weight",
    ),
}  # fmt: skip

_FALLBACKS = {
    **dict.fromkeys(
        ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"
    ),
    **dict.fromkeys(("Q2_0", "Q2_K", "Q3_K", "TQ1_0", "TQ2_0"), "Q4_0"),
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}

# Models that llama.cpp itself calls "70B": many query heads share one attn_v there.
_LAYERS_OF_70B = {"llama": 80, "qwen2": 80, "deci": 80, "jais2": 68}


def own_size(info: ModelInfo, quant: str, imatrix_bytes: int = 0) -> QuantSize:
    """The exact size of the file that llama-quantize writes.

    Args:
        imatrix_bytes: what an importance matrix adds to the header; 0: there is none.

    Raises:
        SourceError: the model's shapes don't allow this quant.
    """
    layout = _layout(info.tensors, info.architecture, _counted_layers(info))
    header = padded(info.header_bytes - info.header_padding + imatrix_bytes)
    data, file, fallbacks = layout.kept_bytes, header + layout.kept_file_bytes, 0
    for kind, type_name, fell_back in _types(info, quant, layout, imatrix_bytes > 0):
        n_bytes, count = tensor_bytes(kind.seat.shape, type_name), len(kind.tensors)
        data += count * n_bytes
        file += count * padded(n_bytes)
        fallbacks += count * fell_back
    return QuantSize(quant, file, 8 * data / info.n_params, fallbacks, estimate=bool(info.estimate))


def tensor_types(
    info: ModelInfo, quant: str, *, imatrix: bool = False
) -> tuple[tuple[str, ...], int]:
    """The type of each tensor in the order of `info.tensors`, and how many needed a fallback.

    Raises:
        SourceError: a tensor's rows fit neither the quant nor a fallback.
    """
    chosen, fallbacks = [tensor.type for tensor in info.tensors], 0
    layout = _layout(info.tensors, info.architecture, _counted_layers(info))
    for kind, type_name, fell_back in _types(info, quant, layout, imatrix):
        for n in kind.tensors:
            chosen[n] = type_name
        fallbacks += len(kind.tensors) * fell_back
    return tuple(chosen), fallbacks


class _Kind(NamedTuple):
    """Tensors that get the same type in every quant: the first one's seat, their places."""

    seat: Seat
    tensors: list[int]


class _Layout(NamedTuple):
    """What doesn't depend on the quant: the tensors that are quantized, and those that aren't."""

    kinds: tuple[_Kind, ...]
    kept_bytes: int
    kept_file_bytes: int
    tied: bool
    n_attn_v: int


@lru_cache(maxsize=8)
def _layout(tensors: tuple[TensorInfo, ...], architecture: str, n_layer: int) -> _Layout:
    order = sorted((_layer(t), t.name.encode(), n) for n, t in enumerate(tensors))
    roles = [role_of(tensor.name, architecture) for tensor in tensors]
    n_attn_v = roles.count("attn_v")
    kinds: dict[Hashable, _Kind] = {}
    seen: Counter[str] = Counter()
    kept: list[int] = []
    for layer, _, n in order:
        tensor, role = tensors[n], roles[n]
        if not _quantizable(tensor, architecture):
            kept.append(tensor_bytes(tensor.shape, tensor.type))
            continue
        seat = Seat(role, seen[role], layer, tensor.shape)
        seen[role] += 1
        key = kind_of(seat, n_attn_v if role == "attn_v" else n_layer)
        kinds.setdefault(key, _Kind(seat, [])).tensors.append(n)
    return _Layout(
        tuple(kinds.values()), sum(kept), sum(map(padded, kept)), "output" not in roles, n_attn_v
    )


def _types(
    info: ModelInfo, quant: str, layout: _Layout, imatrix: bool = False
) -> Iterator[tuple[_Kind, str, bool]]:
    """Each kind of tensor, its type, and whether that is a fallback."""
    base, model = CATALOGUE[quant].base, _model(info, quant, layout, imatrix)
    for kind in layout.kinds:
        if TYPES[base].quantized:
            wanted = wanted_type(model, kind.seat)
            got = _for_row(info, quant, kind, wanted)
            yield kind, got, kind.seat.shape[0] % TYPES[wanted].block > 0
        else:
            yield kind, base, False


def _layers(info: ModelInfo) -> int:
    return _number(info, "block_count") or 0


def _counted_layers(info: ModelInfo) -> int:
    """Layers as the rules count them: once per loop, and Granite's router as one more.

    llama.cpp's `n_layer_all` after an architecture's own changes (`load_arch_hparams`).
    """
    router = 1 if info.architecture == "graniteswitch" else 0
    return _layers(info) * repeats(Figures(info)) + router


def _model(info: ModelInfo, quant: str, layout: _Layout, imatrix: bool) -> Model:
    arch, n_layer = info.architecture, _layers(info)
    n_head = _number(info, "attention.head_count") or 0
    n_head_kv = _number(info, "attention.head_count_kv")
    n_head_kv = n_head if n_head_kv is None else n_head_kv
    large = _LAYERS_OF_70B.get(arch) == n_layer and not (arch == "llama" and n_head == n_head_kv)
    return Model(
        quant=quant,
        architecture=arch,
        n_layer=_counted_layers(info),
        n_expert=_number(info, "expert_count") or 0,
        n_gqa=n_head // n_head_kv if n_head_kv else 0,
        is_70b=large,
        tied=layout.tied,
        n_attn_v=layout.n_attn_v,
        imatrix=imatrix,
    )


def _number(info: ModelInfo, key: str) -> int | None:
    """A figure of the model; of one given per layer, the first layer's."""
    figures = Figures(info)
    return figures.layer(key, 0) if figures.has(key) else None


def _layer(tensor: TensorInfo) -> int:
    """The layer that a tensor's name tells; -1 for one outside the layers.

    llama.cpp goes through tensors by layer, then by name; the rules count along that way.
    """
    match = re.match(r"blk\.(\d+)\.", tensor.name)
    return int(match[1]) if match else -1


def _quantizable(tensor: TensorInfo, architecture: str) -> bool:
    """Two or more dimensions, a weight, and none of those that stay as they are."""
    name, kept = tensor.name, (*_KEPT, *_KEPT_BY_ARCHITECTURE.get(architecture, ()))
    has_rows = any(extent > 1 for extent in tensor.shape[1:])
    if not has_rows or not name.endswith("weight") or name in _KEPT_NAMES:
        return False
    return not any(part in name for part in kept)


def _for_row(info: ModelInfo, quant: str, kind: _Kind, wanted: str) -> str:
    """`wanted`, or what can be had for rows that its block doesn't divide."""
    row = kind.seat.shape[0]
    if row % TYPES[wanted].block == 0:
        return wanted
    if wanted == "Q1_0":
        name = info.tensors[kind.tensors[0]].name
        raise SourceError(
            f"{info.path}: {quant} can't be made of it: rows of {row} in tensor {name!r} "
            f"are no multiple of {TYPES[wanted].block}, and {wanted} has no fallback",
            hint="choose another quant: --quants Q4_K_M",
        )
    fallback = _FALLBACKS.get(wanted, wanted)
    return "F16" if row % TYPES[fallback].block else fallback
