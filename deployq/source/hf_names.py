"""From the tensors of a Hugging Face model to those of the GGUF that it would become.

Names are mapped by the `gguf` package's own tables. What its converter does besides (b11434,
conversion/*.py) is done here: experts become one tensor, latent attention's joint matrix two,
norms and a few others stay F32.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

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
        stored: all tensors of the model.
        architecture: GGUF's word for it.
        name_of: maps names.
        latent: of the config.
        dtype: what two-dimensional weights are written as.
    """
    kept = [t for t in stored if not t.name.endswith(_DROPPED) and not _SPEAKS.search(t.name)]
    projector = [t for t in kept if is_projector(t.name)]
    text = [_as_text(t) for t in kept if not is_projector(t.name)]
    made: dict[str, tuple[int, ...]] = {}
    unknown: list[str] = []
    for name, shape in _prepared(text, architecture, latent):
        target = name if name.startswith("blk.") else name_of(name)
        if target is None:
            unknown.append(name)
        elif target != "output.weight" or not architecture.startswith(_NO_OUTPUT):
            made[target] = _ggml_shape(target, shape)
    tensors = tuple(TensorInfo(n, shape, _type(n, shape, dtype)) for n, shape in made.items())
    return Converted(tensors, sum(_projector_bytes(t) for t in projector), tuple(unknown))


def _as_text(tensor: StoredTensor) -> StoredTensor:
    """Without what marks the text part of a model that has others too."""
    name = tensor.name.replace("language_model.", "").replace("text_model.", "")
    name = name.replace(".dt_bias", ".dt_proj.bias")
    return StoredTensor(name, tensor.dtype, tensor.shape)


def _prepared(
    tensors: Sequence[StoredTensor], architecture: str, latent: Latent
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes (PyTorch's order) after joining and splitting; done ones are `blk.`."""
    experts: dict[str, list[StoredTensor]] = {}
    shared = "_shexp" if any(".block_sparse_moe." in tensor.name for tensor in tensors) else ""
    for tensor in tensors:
        if match := _EXPERT.match(tensor.name):
            part = _EXPERT_PARTS.get(match["part"], match["part"])
            name = f"blk.{match['layer']}.ffn_{part}_exps.weight"
            experts.setdefault(name, []).append(tensor)
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


def rope_tensors(config: Mapping[str, object], head: int, architecture: str) -> list[TensorInfo]:
    """Factors for long contexts that a converter computes from the config."""
    scaling = config.get("rope_scaling") or config.get("rope_parameters")
    kind = scaling.get("rope_type", scaling.get("type")) if isinstance(scaling, dict) else None
    if kind == "llama3":
        return [TensorInfo("rope_freqs.weight", (head // 2,), "F32")]
    if kind in ("longrope", "su") and architecture in ("phi3", "phimoe", "minicpm"):
        names = ("rope_factors_long.weight", "rope_factors_short.weight")
        return [TensorInfo(name, (head // 2,), "F32") for name in names]
    return []
