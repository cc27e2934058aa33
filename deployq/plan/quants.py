"""Quants of a model: their names, and their exact sizes by llama-quantize's own arithmetic.

Follows llama.cpp b11434, src/llama-quant.cpp (`tensor_allows_quantization`,
`tensor_type_fallback`), without an importance matrix and without overrides; the mix itself is
in mixes.py. tests/plan holds the result against what that program says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from deployq.errors import SourceError
from deployq.ggml import TYPES, padded, tensor_bytes
from deployq.plan.catalogue import CATALOGUE, Quant, parse_quant, parse_quants
from deployq.plan.mixes import Mix, Model, role_of
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


def own_size(info: ModelInfo, quant: str) -> QuantSize:
    """The exact size of the file that llama-quantize writes, without an importance matrix.

    Raises:
        SourceError: the model's shapes don't allow this quant.
    """
    types, fallbacks = tensor_types(info, quant)
    bytes_of = [tensor_bytes(t.shape, kind) for t, kind in zip(info.tensors, types, strict=True)]
    return QuantSize(
        quant=quant,
        file_bytes=info.header_bytes + sum(map(padded, bytes_of)),
        bits_per_weight=8 * sum(bytes_of) / info.n_params,
        fallback_tensors=fallbacks,
        estimate=bool(info.estimate),
    )


def tensor_types(info: ModelInfo, quant: str) -> tuple[tuple[str, ...], int]:
    """The type of each tensor in the order of `info.tensors`, and how many needed a fallback.

    Raises:
        SourceError: a tensor's rows fit neither the quant nor a fallback.
    """
    return _types(info.tensors, _model(info, quant), info.path)


@dataclass(frozen=True)
class _Layout:
    """What doesn't depend on the quant: the tensors that are quantized, in llama.cpp's order."""

    places: tuple[tuple[int, str, int], ...]  # number in the list, role, layer
    tied: bool
    n_attn_v: int


@lru_cache(maxsize=8)
def _layout(tensors: tuple[TensorInfo, ...]) -> _Layout:
    order = sorted((_layer(t), t.name.encode(), n) for n, t in enumerate(tensors))
    roles = {tensor.name: role_of(tensor.name) for tensor in tensors}
    places = tuple(
        (n, roles[tensors[n].name], layer) for layer, _, n in order if _quantizable(tensors[n])
    )
    return _Layout(
        places, "output.weight" not in roles, sum(role == "attn_v" for role in roles.values())
    )


@lru_cache(maxsize=256)
def _types(
    tensors: tuple[TensorInfo, ...], model: Model, path: Path
) -> tuple[tuple[str, ...], int]:
    """Kept, since sizes, speed and what a card holds all ask for the same."""
    base, mix = CATALOGUE[model.quant].base, Mix(model)
    chosen = [tensor.type for tensor in tensors]
    fallbacks = 0
    for n, role, layer in _layout(tensors).places:
        if not TYPES[base].quantized:
            chosen[n] = base
            continue
        wanted = mix.type_of(tensors[n], role, layer)
        chosen[n] = _for_row(path, model.quant, tensors[n], wanted)
        fallbacks += tensors[n].shape[0] % TYPES[wanted].block > 0
    return tuple(chosen), fallbacks


def _model(info: ModelInfo, quant: str) -> Model:
    arch, layout = info.architecture, _layout(info.tensors)
    n_layer = _number(info, "block_count") or 0
    n_head = _number(info, "attention.head_count") or 0
    n_head_kv = _number(info, "attention.head_count_kv")
    n_head_kv = n_head if n_head_kv is None else n_head_kv
    large = _LAYERS_OF_70B.get(arch) == n_layer and not (arch == "llama" and n_head == n_head_kv)
    return Model(
        quant=quant,
        architecture=arch,
        n_layer=n_layer,
        n_expert=_number(info, "expert_count") or 0,
        n_gqa=n_head // n_head_kv if n_head_kv else 0,
        is_70b=large,
        tied=layout.tied,
        n_attn_v=layout.n_attn_v,
    )


def _number(info: ModelInfo, key: str) -> int | None:
    """A figure of the model; of one given per layer, the first layer's."""
    full = f"{info.architecture}.{key}"
    value = info.arrays[full][0] if info.arrays.get(full) else info.metadata.get(full)
    return int(value) if isinstance(value, int | float) else None


def _layer(tensor: TensorInfo) -> int:
    """The layer that a tensor's name tells; -1 for one outside the layers.

    llama.cpp goes through tensors by layer, then by name; the rules count along that way.
    """
    match = re.match(r"blk\.(\d+)\.", tensor.name)
    return int(match[1]) if match else -1


def _quantizable(tensor: TensorInfo) -> bool:
    """Two or more dimensions, a weight, and none of those that stay as they are."""
    name = tensor.name
    has_rows = any(extent > 1 for extent in tensor.shape[1:])
    if not has_rows or not name.endswith("weight") or name in _KEPT_NAMES:
        return False
    return not any(part in name for part in _KEPT)


def _for_row(path: Path, quant: str, tensor: TensorInfo, wanted: str) -> str:
    """`wanted`, or what can be had for rows that its block doesn't divide."""
    row = tensor.shape[0]
    if row % TYPES[wanted].block == 0:
        return wanted
    if wanted == "Q1_0":
        raise SourceError(
            f"{path}: {quant} can't be made of it: rows of {row} in tensor {tensor.name!r} "
            f"are no multiple of {TYPES[wanted].block}, and {wanted} has no fallback",
            hint="choose another quant: --quants Q4_K_M",
        )
    fallback = _FALLBACKS.get(wanted, wanted)
    return "F16" if row % TYPES[fallback].block else fallback
