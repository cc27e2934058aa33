"""What a Hugging Face config.json says, in the words of a GGUF header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deployq.errors import SourceError
from deployq.foreign_values import MAX_COUNT, MAX_LAYERS, ForeignObject, read_object
from deployq.records import dataclass
from deployq.source.hf_classes import WHOLE_FIRST
from deployq.types import Scalar

CONFIG = "config.json"
Keys = dict[str, Scalar | tuple[int | float | bool, ...]]

# GGUF key -> the names that models give it; the first that is there counts.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "block_count": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "context_length": (
        "max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "seq_length",
        "max_seq_len",
    ),
    "embedding_length": ("hidden_size", "n_embd", "d_model", "dim"),
    "feed_forward_length": ("intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim"),
    "attention.head_count": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "attention.head_count_kv": (
        "num_key_value_heads", "num_kv_heads", "multi_query_group_num", "n_head_kv", "n_kv_heads",
    ),
    "attention.key_length": ("head_dim",),
    "attention.value_length": ("v_head_dim", "head_dim"),
    "attention.sliding_window": ("sliding_window",),
    "attention.sliding_window_pattern": ("sliding_window_pattern",),
    "attention.kv_lora_rank": ("kv_lora_rank",),
    "attention.q_lora_rank": ("q_lora_rank",),
    "attention.shared_kv_layers": ("num_kv_shared_layers",),
    "embedding_length_per_layer_input": ("hidden_size_per_layer_input",),
    "expert_count": (
        "num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts",
    ),
    "expert_used_count": (
        "num_experts_per_tok", "num_experts_per_token", "moe_topk", "experts_per_token", "moe_k",
    ),
    "expert_feed_forward_length": ("moe_intermediate_size", "expert_dim"),
    "expert_shared_feed_forward_length": (
        "shared_expert_intermediate_size", "shared_intermediate_size",
    ),
    "expert_shared_count": ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"),
    "leading_dense_block_count": ("first_k_dense_replace", "moe_layer_start_index"),
    "nextn_predict_layers": ("num_nextn_predict_layers", "mtp_num_hidden_layers"),
    "rope.dimension_count": ("qk_rope_head_dim",),
    "full_attention_interval": ("full_attention_interval",),
    "shortconv.l_cache": ("conv_L_cache",),
    "ssm.conv_kernel": ("mamba_d_conv", "linear_conv_kernel_dim", "conv_kernel", "d_conv"),
    "ssm.state_size": (
        "mamba_d_state", "linear_key_head_dim", "ssm_state_size", "state_size", "d_state",
    ),
    "ssm.group_count": ("mamba_n_groups", "linear_num_key_heads", "n_groups"),
    "ssm.time_step_rank": (
        "mamba_n_heads", "mamba_num_heads", "linear_num_value_heads", "mamba_dt_rank",
        "time_step_rank",
    ),
    "vocab_size": ("vocab_size", "padded_vocab_size"),
}  # fmt: skip

_NEVER_UNSET = frozenset(
    name
    for key in ("block_count", "context_length", "embedding_length", "attention.head_count")
    for name in _NAMES[key]
)
"""Some configs say -1 where others say null; nobody means that of these."""

_OTHER_FORMS = {"sliding_window_pattern", "layer_types"}  # "LLLG": not read, so not checked

_ATTENTION = {"attention", "full_attention", "hybrid"}
_WINDOWED = {"sliding_attention", "chunked_attention"}


@dataclass(frozen=True)
class Config:
    """A config.json: `values` are those of the text model, where it has others too."""

    path: Path
    classes: tuple[str, ...]
    object: ForeignObject

    @property
    def values(self) -> Mapping[str, Any]:
        return self.object.values

    def number(self, *names: str) -> int | None:
        """The first of these that is a number.

        Raises:
            SourceError: it is one that no model has, or no number.
        """
        for name in names:
            value = self.values.get(name)
            # A list has a figure for each layer, which the tensors tell, too.
            if value is False or value == "auto" or isinstance(value, list):
                continue
            if name in _OTHER_FORMS and isinstance(value, str):
                continue
            unset = name not in _NEVER_UNSET and value == -1
            most = MAX_LAYERS if "layer" in name else MAX_COUNT
            if not unset and (number := self.object.integer(name, 0, most)) is not None:
                return number
        return None

    def words(self, name: str) -> tuple[str, ...]:
        return self.object.texts(name)


def read_config(folder: Path) -> Config:
    """The config.json of a model.

    Raises:
        SourceError: there is none, it is no JSON object, or it names no architecture.
    """
    file = folder / CONFIG
    if not file.exists():
        raise SourceError(
            f"{file}: is not there",
            hint="save the model and its config together: model.save_pretrained(...)",
        )
    stated = read_object(file)
    if not (classes := stated.texts("architectures")):
        raise SourceError(f'{file}: names no architecture ("architectures": [...])')
    text = _text_config(stated.values)
    merged = replace(stated, values={**stated.values, **text})
    return Config(file, _classes(classes, text), merged)


def _text_config(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of the part that writes text, in a model that has other parts; else empty.

    Its names are those that llama.cpp's converter knows (b11434, `ModelBase.load_hparams`).
    """
    thinker = values.get("thinker_config")
    found = (
        values.get("lfm"),
        values.get("language_config"),
        thinker.get("text_config") if isinstance(thinker, dict) else None,
        *(values.get(name) for name in ("lm_config", "llm_config", "text_config")),
    )
    return next((config for config in found if isinstance(config, dict)), {})


def _classes(whole: Sequence[str], text: Mapping[str, Any]) -> tuple[str, ...]:
    """What decides what a model becomes: the class of its text part, if that is told.

    As in llama.cpp's converter (b11434, `get_model_architecture`), with its exceptions.
    """
    own = text.get("architectures")
    inner = [name for name in own if isinstance(name, str)] if isinstance(own, list) else []
    if whole[0] in WHOLE_FIRST:
        return (*whole, *inner)
    return (*inner, *whole)


def header_keys(config: Config, architecture: str) -> Keys:
    """The keys of the GGUF header that follow from the config, without their prefix."""
    keys: Keys = {
        key: number
        for key, names in _NAMES.items()
        if (number := config.number(*names)) is not None
    }
    if config.values.get("use_sliding_window") is False:
        keys.pop("attention.sliding_window", None)
    if architecture == "lfm2" and isinstance(ff := keys.get("feed_forward_length"), int):
        keys["feed_forward_length"] = _lfm2_ff(config, ff)
    if architecture == "gpt-oss" and "feed_forward_length" in keys:
        keys["expert_feed_forward_length"] = keys["feed_forward_length"]
    keys |= _latent(config) | _state(config, architecture) | _layers(config, keys)
    if nextn := keys.get("nextn_predict_layers"):
        keys["block_count"] = int(str(keys.get("block_count", 0))) + int(str(nextn))
    return keys


def _latent(config: Config) -> Keys:
    """Latent attention, as the converter writes it: one head of the compressed keys."""
    rank, rope = config.number("kv_lora_rank"), config.number("qk_rope_head_dim")
    if not rank or rope is None:
        return {}
    nope, value = config.number("qk_nope_head_dim") or 0, config.number("v_head_dim") or 0
    return {
        "attention.head_count_kv": 1,
        "attention.key_length": rank + rope,
        "attention.value_length": rank,
        "attention.key_length_mla": nope + rope,
        "attention.value_length_mla": value,
    }


def _state(config: Config, architecture: str) -> Keys:
    """The inner width of state-space layers, which each family states in its own way."""
    inner = config.number("mamba_d_ssm", "d_inner")
    if inner is None and (heads := config.number("linear_num_value_heads")):
        inner = heads * (config.number("linear_value_head_dim") or 0)
    if inner is None and architecture.startswith("nemotron_h"):
        heads = config.number("mamba_num_heads") or 0
        inner = heads * (config.number("mamba_head_dim") or 0)
    if inner is None and architecture == "mamba":
        inner = config.number("intermediate_size")
    if inner is None and (factor := config.number("mamba_expand", "expand")):
        inner = factor * (config.number("hidden_size", "d_model") or 0)
    if not inner:
        return {}
    no_feed_forward: Keys = {"feed_forward_length": 0} if architecture.startswith("mamba") else {}
    return {"ssm.inner_size": inner, **no_feed_forward}


def _layers(config: Config, keys: Keys) -> Keys:
    """What differs from layer to layer: windows, and layers that have no attention."""
    heads = keys.get("attention.head_count_kv", keys.get("attention.head_count", 0))
    if kinds := config.words("layer_types") or config.words("layers_block_type"):
        if _WINDOWED & set(kinds):
            return {"attention.sliding_window_pattern": tuple(k in _WINDOWED for k in kinds)}
        if set(kinds) - _ATTENTION:
            return _hybrid(tuple(kind in _ATTENTION for kind in kinds), heads)
    if marks := config.object.text("hybrid_override_pattern"):
        ff = int(str(keys.get("feed_forward_length", 0)))
        lengths = tuple(ff if mark in "-E" else 0 for mark in marks)
        return {**_hybrid(tuple(m == "*" for m in marks), heads), "feed_forward_length": lengths}
    if period := config.number("attn_layer_period"):
        offset = config.number("attn_layer_offset") or 0
        blocks = int(str(keys.get("block_count", 0)))
        return _hybrid(tuple(n % period == offset for n in range(min(blocks, 1024))), heads)
    return {}


def _hybrid(attends: tuple[bool, ...], heads: object) -> Keys:
    count = int(str(heads)) if isinstance(heads, int) else 0
    return {
        "attention.head_count_kv": tuple(count if yes else 0 for yes in attends),
        "attention.recurrent_layers": tuple(not yes for yes in attends),
    }


def _lfm2_ff(config: Config, ff: int) -> int:
    """LFM2 states a width that is cut to two thirds and rounded up."""
    if config.values.get("block_auto_adjust_ff_dim") is not True:
        return config.number("block_ff_dim") or ff
    ff = int(2 * (config.number("block_ff_dim") or ff) / 3)
    multiple = config.number("block_multiple_of") or 1
    return -(-ff // multiple) * multiple
