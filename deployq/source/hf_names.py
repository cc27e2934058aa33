"""From the tensors of a Hugging Face model to those of the GGUF that it would become.

Names are mapped by the `gguf` package's own tables. What its converter does besides (b11434,
conversion/*.py) is done here: experts become one tensor, latent attention's joint matrix two,
norms and a few others stay F32.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from deployq.foreign_values import ForeignObject
from deployq.records import dataclass
from deployq.source.safetensors import StoredTensor
from deployq.types import TensorInfo

NameOf = Callable[[str], str | None]
"""The GGUF name of a Hugging Face name; None where there is none."""

# As llama.cpp's converter tells them from the text model's (b11434, `TextModel.filter_tensors`).
_PROJECTOR = re.compile(
    r"^(?:mlp|vit\.|vpm\.|siglip2\.|conformer\.|merger\.|resampler\.|sound_encoder\.|"
    r"sound_projection\.|speech_embeddings\.|connector\.)|visual\.|vision[._]|audio[._]|projector\.|"
    r"pre_mm_projector_norm|image_newline|view_seperator|patch_embed|patch_merger\.|"
    r"patch_merge_mlp\.|model\.connector\."
)
_SPEAKS = re.compile(r"talker\.|token2wav\.|code2wav\.")  # parts that no GGUF takes
_DROPPED = (
    ".attention.masked_bias", ".attention.bias", ".attn.bias", ".attn.masked_bias",
    ".rotary_emb.inv_freq", ".weight_scale", ".weight_scale_inv", ".input_scale",
)  # fmt: skip
_EXPERT = re.compile(r"^(?P<head>.+\.layers\.(?P<layer>\d+)\..*experts)\.(?P<n>\d+)\.(?P<part>\w+)")
_STACKED = re.compile(r"^.+\.layers\.(?P<layer>\d+)\.(?:.*experts\.)(?P<part>\w+?)(?:\.weight)?$")
_MOE_LINEAR = re.compile(r"^.+\.layers\.(?P<layer>\d+)\.block_sparse_moe\.(?P<part>\w+)\.weight$")
_SHARED_MLP = re.compile(r"^.+\.layers\.(?P<layer>\d+)\.shared_mlp\.(?P<part>\w+)\.weight$")
_KV_B = re.compile(r"^.+\.layers\.(?P<layer>\d+)\.self_attn\.kv_b_proj\.weight$")
# Qwen3-Next: queries, keys, values and the gate; the convolution is as wide as the first three.
_QKVZ = re.compile(r"^(?P<head>.+\.layers\.(?P<layer>\d+)\.linear_attn)\.in_proj_qkvz\.weight$")
_CONV = ".conv1d.weight"
_IS_CONV = re.compile(r"^.*\.conv1d\.weight$")
_PACKED = re.compile(
    r"^.+\.layers\.(?P<layer>\d+)\.mlp\.experts\.(?P<part>gate_up|down)_proj_(?P<what>blocks|scales|bias)$"
)
_LEAST = ((_KV_B, 2), (_QKVZ, 2), (_PACKED, 2), (_SHARED_MLP, 2), (_EXPERT, 1), (_IS_CONV, 2))
"""The fewest dimensions of a tensor that is joined or split."""

_IN_LAYER = re.compile(
    r"^(?:model\.)?layers\.(?P<layer>\d+)\.(?P<part>.+)\.(?P<suffix>weight|bias)$"
)
_LATER_PARTS = {
    "eh_proj": "nextn.eh_proj", "enorm": "nextn.enorm", "hnorm": "nextn.hnorm",
    "embed_tokens": "nextn.embed_tokens", "shared_head.head": "nextn.shared_head_head",
    "shared_head.norm": "nextn.shared_head_norm", "final_layernorm": "layer_output_norm",
    "linear_attn.in_proj_z": "attn_gate",
}  # fmt: skip
_EXPERT_PARTS = {
    "gate_proj": "gate", "w1": "gate", "linear": "gate", "up_proj": "up", "w3": "up",
    "linear_v": "up", "down_proj": "down", "w2": "down", "linear_1": "down",
}  # fmt: skip

# Two-dimensional tensors that stay F32.
_F32 = (
    "ffn_gate_inp.weight", "ffn_gate_inp_shexp.weight", "position_embd.weight",
    "token_types.weight", "ssm_conv1d.weight", "ssm_conv1d_q.weight", "ssm_conv1d_k.weight",
    "ssm_conv1d_v.weight", "shortconv.conv.weight", "time_mix_first.weight",
    "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight", "altup_correct_coef.weight",
    "altup_predict_coef.weight", "indexer.proj.weight",
)  # fmt: skip
_NO_OUTPUT = ("gemma", "cohere", "command-r")
"""Architectures whose output is always the embedding, whatever else was saved."""


@dataclass(frozen=True)
class Latent:
    """Heads and widths that the joint matrix of latent attention is split by; 0 heads: none."""

    heads: int = 0
    nope: int = 0
    value: int = 0


@dataclass(frozen=True)
class Converted:
    """What a converter makes of the tensors; `unknown` are names that no table has."""

    tensors: tuple[TensorInfo, ...]
    projector_bytes: int
    unknown: tuple[str, ...]


def is_projector(name: str) -> bool:
    """Whether a Hugging Face tensor is for images or sound, no part of the text model."""
    return _PROJECTOR.search(name) is not None


def convert(
    stored: Sequence[StoredTensor],
    architecture: str,
    name_of: NameOf,
    latent: Latent,
    dtype: str = "F16",
) -> Converted:
    """The tensors of the GGUF that a converter would write.

    Args:
        stored: all tensors of the model, those of its text part as `as_text` has them.
        architecture: GGUF's word for it.
        name_of: maps names.
        latent: of the config.
        dtype: what two-dimensional weights are written as.
    """
    kept = [t for t in stored if not t.name.endswith(_DROPPED) and not _SPEAKS.search(t.name)]
    projector = [t for t in kept if is_projector(t.name)]
    text = [t for t in kept if not is_projector(t.name)]
    experts = "MXFP4" if any(t.name.endswith("_proj_blocks") for t in text) else dtype
    made: dict[str, tuple[int, ...]] = {}
    unknown: list[str] = []
    for name, shape in _prepared(text, architecture, latent):
        target = name if name.startswith("blk.") else name_of(name) or _later_name(name)
        if target is None:
            unknown.append(name)
        elif target != "output.weight" or not architecture.startswith(_NO_OUTPUT):
            made[target] = _ggml_shape(target, shape)
    tensors = tuple(
        TensorInfo(n, shape, _type(n, shape, experts if "_exps." in n else dtype))
        for n, shape in made.items()
    )
    return Converted(tensors, sum(_projector_bytes(t) for t in projector), tuple(unknown))


def _later_name(name: str) -> str | None:
    """The GGUF name of a part that llama.cpp b11434 knows, and an older `gguf` package doesn't."""
    if not (match := _IN_LAYER.match(name)):
        return None
    part = _LATER_PARTS.get(match["part"])
    return f"blk.{match['layer']}.{part}.{match['suffix']}" if part else None


def as_text(tensor: StoredTensor) -> StoredTensor:
    """Without what marks the text part of a model that has others too."""
    name = tensor.name.replace("language_model.", "").replace("text_model.", "")
    name = name.replace(".dt_bias", ".dt_proj.bias").replace("correction_bias", "correction.bias")
    name = f"{name}.weight" if name.endswith(".sinks") else name
    return StoredTensor(name, tensor.dtype, tensor.shape)


def misshapen(tensors: Iterable[StoredTensor]) -> Iterator[StoredTensor]:
    """Tensors of fewer dimensions than joining and splitting them needs."""
    for tensor in tensors:
        if any(part.match(tensor.name) and len(tensor.shape) < least for part, least in _LEAST):
            yield tensor


def _prepared(
    tensors: Sequence[StoredTensor], architecture: str, latent: Latent
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes (PyTorch's order) after joining and splitting; done ones are `blk.`."""
    experts: dict[str, list[StoredTensor]] = {}
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    shared = "_shexp" if any(".block_sparse_moe." in tensor.name for tensor in tensors) else ""
    for tensor in tensors:
        if match := _EXPERT.match(tensor.name):
            part = _EXPERT_PARTS.get(match["part"], match["part"])
            name = f"blk.{match['layer']}.ffn_{part}_exps.weight"
            experts.setdefault(name, []).append(tensor)
        elif match := _PACKED.match(tensor.name):
            yield from _packed(int(match["layer"]), match["part"], match["what"], tensor.shape)
        elif (match := _QKVZ.match(tensor.name)) and match["head"] + _CONV in shapes:
            joint = shapes[match["head"] + _CONV][0]
            yield f"blk.{match['layer']}.attn_qkv.weight", (joint, *tensor.shape[1:])
            gate = tensor.shape[0] - joint
            yield f"blk.{match['layer']}.attn_gate.weight", (gate, *tensor.shape[1:])
        elif latent.heads and (match := _KV_B.match(tensor.name)):
            yield from _split_latent(int(match["layer"]), tensor, latent)
        elif match := _SHARED_MLP.match(tensor.name):
            yield from _shared(f"blk.{match['layer']}.ffn", match["part"], tensor.shape, shared)
        elif len(tensor.shape) == 3 and (found := _stacked(tensor, architecture)):
            yield from found
        else:
            yield tensor.name, tensor.shape
    for name, parts in experts.items():
        yield name, (len(parts), *parts[0].shape)


def _shared(
    prefix: str, part: str, shape: tuple[int, ...], suffix: str
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Granite's feed-forward part, gate and up joined; beside experts it is a shared one."""
    if part == "output_linear":
        yield f"{prefix}_down{suffix}.weight", shape
    else:
        for half in ("gate", "up"):
            yield f"{prefix}_{half}{suffix}.weight", (shape[0] // 2, *shape[1:])


def _stacked(tensor: StoredTensor, architecture: str) -> list[tuple[str, tuple[int, ...]]]:
    """Experts that are one tensor already, gate and up joined; empty where it is none of these."""
    match = _STACKED.match(tensor.name) or _MOE_LINEAR.match(tensor.name)
    if not match:
        return []
    count, first, second = tensor.shape
    prefix, part = f"blk.{match['layer']}.ffn", match["part"]
    if part == "input_linear":
        return [(f"{prefix}_{p}_exps.weight", (count, first // 2, second)) for p in ("gate", "up")]
    if part == "output_linear":
        return [(f"{prefix}_down_exps.weight", tensor.shape)]
    # Llama 4 and gpt-oss keep these turned: (experts, in, out)
    turned = architecture in ("llama4", "gpt-oss", "qwen3vlmoe")
    rows, row = (second, first) if turned else (first, second)
    if part == "gate_up_proj":
        return [(f"{prefix}_{p}_exps.weight", (count, rows // 2, row)) for p in ("gate", "up")]
    if part == "down_proj":
        return [(f"{prefix}_down_exps.weight", (count, rows, row))]
    return []


def _packed(
    layer: int, part: str, what: str, shape: tuple[int, ...]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """gpt-oss's experts in MXFP4: blocks of 32 values in 16 bytes, their scales apart."""
    if what == "scales":
        return
    suffix = "bias" if what == "bias" else "weight"
    row = () if what == "bias" else (shape[-2] * 32,)
    halves = ("gate", "up") if part == "gate_up" else ("down",)
    for half in halves:
        yield f"blk.{layer}.ffn_{half}_exps.{suffix}", (shape[0], shape[1] // len(halves), *row)


def _split_latent(
    layer: int, tensor: StoredTensor, latent: Latent
) -> Iterator[tuple[str, tuple[int, ...]]]:
    rank = tensor.shape[-1]
    yield f"blk.{layer}.attn_k_b.weight", (latent.heads, rank, latent.nope)
    yield f"blk.{layer}.attn_v_b.weight", (latent.heads, latent.value, rank)


def _ggml_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """GGUF's order, the row first; a convolution's dimension of one is dropped."""
    if "conv" in name:
        shape = tuple(extent for extent in shape if extent != 1) or (1,)
    return tuple(reversed(shape)) or (1,)


def _type(name: str, shape: tuple[int, ...], dtype: str) -> str:
    plain = len(shape) < 2 or name.endswith("_norm.weight") or not name.endswith(".weight")
    return "F32" if plain or name.endswith(_F32) else dtype


def _projector_bytes(tensor: StoredTensor) -> int:
    """As a converter writes a projector: F16; vectors, and what embeds patches and places, F32."""
    wide = len(tensor.shape) < 2 or ".embeddings." in tensor.name or "_embed" in tensor.name
    return tensor.n_elements * (4 if wide else 2)


def rope_tensors(config: ForeignObject, head: int, architecture: str) -> list[TensorInfo]:
    """Factors for long contexts that a converter takes, or computes, from the config."""
    scaling = config.child("rope_parameters")
    scaling = scaling if scaling.values else config.child("rope_scaling")
    scaling = scaling.child("full_attention") if "full_attention" in scaling else scaling
    kind = scaling.text("rope_type") or scaling.text("type")
    if kind == "llama3":
        return [TensorInfo("rope_freqs.weight", (head // 2,), "F32")]
    if kind == "proportional" and architecture == "gemma4":
        wide = config.integer("global_head_dim")
        head = head if wide is None else wide
        return [TensorInfo("rope_freqs.weight", (head // 2,), "F32")]
    factors = scaling.values.get("long_factor")
    if isinstance(factors, list) and architecture in ("phi3", "phimoe", "minicpm", "minicpm3"):
        # As many as half of what is rotated, which need not be the whole head.
        names = ("rope_factors_long.weight", "rope_factors_short.weight")
        return [TensorInfo(name, (len(factors),), "F32") for name in names]
    return []
