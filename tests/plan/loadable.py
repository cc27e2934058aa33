"""Small models that a server loads: shapes of several kinds, all weights zero.

How much memory a model takes depends on its shapes alone; each kind of cache is among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.plan.models import VOCAB, ModelShape, keys
from tests.source.gguf_files import Shape, Value, llama_tensors, write_sparse

N_CTX = 131072


def llama() -> ModelShape:
    """Attention over all tokens, four queries to a key."""
    shape = keys(4, 512, 1536, 8, 2, context_length=N_CTX, rope__dimension_count=64)
    return ModelShape("llama", shape, llama_tensors(4, 512, 128, 1536, VOCAB))


def gemma3() -> ModelShape:
    """Windows in five of six layers; the output is the embedding."""
    more: dict[str, Value] = {
        "attention__key_length": 256, "attention__value_length": 256,
        "attention__sliding_window": 512,
    }  # fmt: skip
    parts = _gemma_layer(512, 1024, 256, 1536) | {"attn_v.weight": (512, 256)}
    tensors = _outside(512) | _layers(6, parts)
    return ModelShape("gemma3", keys(6, 512, 1536, 4, 1, context_length=N_CTX, **more), tensors)


def gemma4() -> ModelShape:
    """Wider heads without a window, embeddings per layer, an output made before the embedding."""
    full = [n % 2 == 1 for n in range(6)]
    more: dict[str, Value] = {
        "attention__key_length": 512, "attention__value_length": 512,
        "attention__key_length_swa": 256, "attention__value_length_swa": 256,
        "rope__dimension_count": 512, "rope__dimension_count_swa": 256,
        "attention__sliding_window": 512, "attention__shared_kv_layers": 2,
        "attention__sliding_window_pattern": [not one for one in full],
        "embedding_length_per_layer_input": 64,
    }  # fmt: skip
    tensors = _outside(512) | {
        "per_layer_token_embd.weight": (64 * 6, VOCAB),
        "per_layer_model_proj.weight": (512, 64 * 6),
        "per_layer_proj_norm.weight": (64,),
        "rope_freqs.weight": (256,),
    }
    for n, whole in enumerate(full):
        head = 512 if whole else 256
        parts = _gemma_layer(512, 4 * head, head, 1536) | _PER_LAYER
        tensors |= {f"blk.{n}.{part}": shape for part, shape in parts.items()}
    return ModelShape("gemma4", keys(6, 512, 1536, 4, 1, context_length=N_CTX, **more), tensors)


def lfm2() -> ModelShape:
    """Attention in two of six layers, short convolutions in the others; one request at a time."""
    kv_heads = [0, 0, 2, 0, 0, 2]
    shape = keys(6, 512, 1536, 8, kv_heads, context_length=N_CTX, shortconv__l_cache=3)
    tensors: dict[str, Shape] = {
        "token_embd.weight": (512, VOCAB), "token_embd_norm.weight": (512,),
    }  # fmt: skip
    for n, heads in enumerate(kv_heads):
        parts: dict[str, Shape] = {
            "attn_norm.weight": (512,), "ffn_norm.weight": (512,), "ffn_gate.weight": (512, 1536),
            "ffn_up.weight": (512, 1536), "ffn_down.weight": (1536, 512),
        }  # fmt: skip
        parts |= _LFM2_ATTENTION if heads else _LFM2_CONVOLUTION
        tensors |= {f"blk.{n}.{part}": extent for part, extent in parts.items()}
    return ModelShape("lfm2", shape, tensors)


_PER_LAYER: dict[str, Shape] = {
    "inp_gate.weight": (512, 64), "proj.weight": (64, 512), "post_norm.weight": (512,),
}  # fmt: skip
_LFM2_ATTENTION: dict[str, Shape] = {
    "attn_q.weight": (512, 512), "attn_k.weight": (512, 128), "attn_v.weight": (512, 128),
    "attn_output.weight": (512, 512), "attn_q_norm.weight": (64,), "attn_k_norm.weight": (64,),
}  # fmt: skip
_LFM2_CONVOLUTION: dict[str, Shape] = {
    "shortconv.conv.weight": (3, 512), "shortconv.in_proj.weight": (512, 3 * 512),
    "shortconv.out_proj.weight": (512, 512),
}  # fmt: skip
_F32 = ("shortconv.conv.weight",)


def _outside(width: int) -> dict[str, Shape]:
    return {"token_embd.weight": (width, VOCAB), "output_norm.weight": (width,)}


def _gemma_layer(width: int, queries: int, head: int, ff: int) -> dict[str, Shape]:
    return {
        "attn_norm.weight": (width,), "attn_q.weight": (width, queries),
        "attn_k.weight": (width, head), "attn_output.weight": (queries, width),
        "attn_q_norm.weight": (head,), "attn_k_norm.weight": (head,),
        "post_attention_norm.weight": (width,), "ffn_norm.weight": (width,),
        "ffn_gate.weight": (width, ff), "ffn_up.weight": (width, ff),
        "ffn_down.weight": (ff, width), "post_ffw_norm.weight": (width,),
    }  # fmt: skip


def _layers(count: int, parts: Mapping[str, Shape]) -> dict[str, Shape]:
    return {f"blk.{n}.{part}": shape for n in range(count) for part, shape in parts.items()}


LOADABLE: Mapping[str, Callable[[], ModelShape]] = {
    "llama": llama, "gemma3": gemma3, "gemma4": gemma4, "lfm2": lfm2,
}  # fmt: skip


def write_loadable(folder: Path, name: str) -> Path:
    """The GGUF of one of them in `folder`."""
    shape = LOADABLE[name]()
    types = {one: "F32" for one in shape.tensors if one.endswith(_F32)}
    path = folder / f"{name}.gguf"
    return write_sparse(path, shape.architecture, shape.keys, shape.tensors, types)
