"""Shapes of models that are no plain Llama, by their published configurations.

Vocabularies are cut to 1000 tokens: they don't change the rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.source.gguf_files import Shape, Value, llama_tensors

VOCAB = 1000


@dataclass(frozen=True)
class ModelShape:
    architecture: str
    keys: Mapping[str, Value]
    tensors: Mapping[str, Shape]
    types: Mapping[str, str] = field(default_factory=dict)


def keys(
    layers: int, width: int, ff: int, heads: int, kv_heads: Value, **more: Value
) -> dict[str, Value]:
    return {
        "block_count": layers,
        "context_length": 32768,
        "embedding_length": width,
        "feed_forward_length": ff,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "attention.layer_norm_epsilon": 1e-5,
        "vocab_size": VOCAB,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [f"t{n}" for n in range(VOCAB)],
        "tokenizer.ggml.scores": [0.0] * VOCAB,
        "tokenizer.ggml.token_type": [1] * VOCAB,
        **{key.replace("__", "."): value for key, value in more.items()},
    }


def changed(
    tensors: dict[str, Shape], layers: int, parts: Mapping[str, Shape | None]
) -> dict[str, Shape]:
    """Tensors with parts of every layer added, changed, or (None) taken out."""
    for n in range(layers):
        for part, shape in parts.items():
            name = f"blk.{n}.{part}.weight"
            if shape is None:
                tensors.pop(name, None)
            else:
                tensors[name] = shape
    return tensors


def tied(tensors: dict[str, Shape]) -> dict[str, Shape]:
    del tensors["output.weight"]
    return tensors


NO_FFN: dict[str, Shape | None] = {"ffn_gate": None, "ffn_up": None, "ffn_down": None}


def experts(width: int, ff: int, count: int) -> dict[str, Shape | None]:
    return {
        **NO_FFN,
        "ffn_gate_inp": (width, count),
        "ffn_gate_exps": (width, ff, count),
        "ffn_up_exps": (width, ff, count),
        "ffn_down_exps": (ff, width, count),
    }


def shared_expert(width: int, ff: int) -> dict[str, Shape | None]:
    return {
        "ffn_gate_shexp": (width, ff),
        "ffn_up_shexp": (width, ff),
        "ffn_down_shexp": (ff, width),
    }


def mixtral() -> ModelShape:
    tensors = changed(llama_tensors(32, 4096, 1024, 0, VOCAB), 32, experts(4096, 14336, 8))
    more = {"expert_count": 8, "expert_used_count": 2}
    return ModelShape("llama", keys(32, 4096, 14336, 32, 8, **more), tensors)


def qwen3moe() -> ModelShape:
    parts = experts(2048, 768, 128)
    norms: dict[str, Shape | None] = {"attn_q_norm": (128,), "attn_k_norm": (128,)}
    attention: dict[str, Shape | None] = {"attn_q": (2048, 4096), "attn_output": (4096, 2048)}
    tensors = changed(llama_tensors(48, 2048, 512, 0, VOCAB), 48, parts | norms | attention)
    more: dict[str, Value] = {
        "expert_count": 128,
        "expert_used_count": 8,
        "expert_feed_forward_length": 768,
        "attention__key_length": 128,
        "attention__value_length": 128,
    }
    return ModelShape("qwen3moe", keys(48, 2048, 6144, 32, 4, **more), tensors)


def qwen2moe() -> ModelShape:
    parts = experts(2048, 1408, 60) | shared_expert(2048, 5632)
    tensors = changed(llama_tensors(24, 2048, 2048, 0, VOCAB), 24, parts)
    more = {"expert_count": 60, "expert_used_count": 4, "expert_feed_forward_length": 1408}
    return ModelShape("qwen2moe", keys(24, 2048, 5632, 16, 16, **more), tensors)


def deepseek2() -> ModelShape:
    """DeepSeek-V2-Lite: latent attention, one dense layer, shared experts."""
    latent: dict[str, Shape | None] = {
        "attn_q": (2048, 3072),
        "attn_k": None,
        "attn_v": None,
        "attn_kv_a_norm": (512,),
        "attn_kv_a_mqa": (2048, 576),
        "attn_k_b": (128, 512, 16),
        "attn_v_b": (512, 128, 16),
    }
    parts = latent | experts(2048, 1408, 64) | shared_expert(2048, 2816)
    tensors = changed(llama_tensors(27, 2048, 0, 0, VOCAB), 27, parts)
    for part in [
        p for p in (experts(2048, 1408, 64) | shared_expert(2048, 2816)) if p not in NO_FFN
    ]:
        del tensors[f"blk.0.{part}.weight"]
    dense: dict[str, Shape] = {
        "ffn_gate": (2048, 10944),
        "ffn_up": (2048, 10944),
        "ffn_down": (10944, 2048),
    }
    tensors |= {f"blk.0.{part}.weight": shape for part, shape in dense.items()}
    more: dict[str, Value] = {
        "expert_count": 64,
        "expert_used_count": 6,
        "expert_shared_count": 2,
        "expert_feed_forward_length": 1408,
        "leading_dense_block_count": 1,
        "expert_weights_scale": 1.0,
        "rope__dimension_count": 64,
        "attention__kv_lora_rank": 512,
        "attention__key_length": 576,
        "attention__value_length": 512,
        "attention__key_length_mla": 192,
        "attention__value_length_mla": 128,
    }
    return ModelShape("deepseek2", keys(27, 2048, 10944, 16, 1, **more), tensors)


def falcon() -> ModelShape:
    """Falcon-7B: rows of 4544, joined QKV, rules of its own."""
    parts: dict[str, Shape | None] = {
        "attn_q": None,
        "attn_k": None,
        "attn_v": None,
        "ffn_gate": None,
        "ffn_norm": None,
        "attn_qkv": (4544, 4672),
    }
    tensors = changed(llama_tensors(32, 4544, 0, 18176, VOCAB), 32, parts)
    return ModelShape("falcon", keys(32, 4544, 18176, 71, 1), tensors)


def falcon_11b() -> ModelShape:
    """Falcon2-11B's widths: no fallbacks hide the rules, and queries share keys."""
    parts: dict[str, Shape | None] = {
        "attn_q": None,
        "attn_k": None,
        "attn_v": None,
        "ffn_gate": None,
        "attn_qkv": (4096, 6144),
    }
    tensors = changed(llama_tensors(60, 4096, 0, 16384, VOCAB), 60, parts)
    return ModelShape("falcon", keys(60, 4096, 16384, 32, 8), tensors)


def phi3() -> ModelShape:
    parts: dict[str, Shape | None] = {
        "attn_q": None,
        "attn_k": None,
        "attn_v": None,
        "ffn_gate": None,
        "attn_qkv": (3072, 9216),
        "ffn_up": (3072, 16384),
    }
    tensors = changed(llama_tensors(32, 3072, 0, 8192, VOCAB), 32, parts)
    more: dict[str, Value] = {
        "rope__dimension_count": 96,
        "rope__scaling__original_context_length": 4096,
        "attention__sliding_window": 2047,
    }
    return ModelShape("phi3", keys(32, 3072, 8192, 32, 32, **more), tensors)


def gemma(
    architecture: str, layers: int, width: int, ff: int, heads: int, kv: int, size: int, window: int
) -> ModelShape:
    parts: dict[str, Shape | None] = {
        "attn_q": (width, heads * size),
        "attn_output": (heads * size, width),
        "post_attention_norm": (width,),
        "post_ffw_norm": (width,),
    }
    if architecture == "gemma3":
        parts |= {"attn_q_norm": (size,), "attn_k_norm": (size,)}
    tensors = changed(tied(llama_tensors(layers, width, kv * size, ff, VOCAB)), layers, parts)
    more = {
        "attention__key_length": size,
        "attention__value_length": size,
        "attention__sliding_window": window,
    }
    return ModelShape(architecture, keys(layers, width, ff, heads, kv, **more), tensors)


def qwen3() -> ModelShape:
    """Qwen3-0.6B: heads wider than the model divided by their number."""
    parts: dict[str, Shape | None] = {
        "attn_q": (1024, 2048),
        "attn_output": (2048, 1024),
        "attn_q_norm": (128,),
        "attn_k_norm": (128,),
    }
    tensors = changed(tied(llama_tensors(28, 1024, 1024, 3072, VOCAB)), 28, parts)
    more = {"attention__key_length": 128, "attention__value_length": 128}
    return ModelShape("qwen3", keys(28, 1024, 3072, 16, 8, **more), tensors)


def granite() -> ModelShape:
    more: dict[str, Value] = {
        "logit_scale": 16.0,
        "residual_scale": 0.22,
        "embedding_scale": 12.0,
        "attention__scale": 0.0078125,
    }
    tensors = tied(llama_tensors(40, 4096, 1024, 12800, VOCAB))
    return ModelShape("granite", keys(40, 4096, 12800, 32, 8, **more), tensors)


def deci() -> ModelShape:
    """Figures per layer: the second half of the layers has half the key heads."""
    kv_heads = [8] * 16 + [4] * 16
    tensors = llama_tensors(32, 4096, 1024, 14336, VOCAB)
    for n, count in enumerate(kv_heads):
        for part in ("attn_k", "attn_v"):
            tensors[f"blk.{n}.{part}.weight"] = (4096, 128 * count)
    more: dict[str, Value] = {
        "attention__head_count": [32] * 32,
        "feed_forward_length": [14336] * 32,
    }
    return ModelShape("deci", keys(32, 4096, 14336, 32, kv_heads, **more), tensors)


def qwen2_72b() -> ModelShape:
    """80 layers: one of those that llama.cpp gives more bits in attn_v."""
    return ModelShape(
        "qwen2", keys(80, 8192, 29568, 64, 8), llama_tensors(80, 8192, 1024, 29568, VOCAB)
    )


def plain(architecture: str) -> ModelShape:
    """An architecture with the tensors of a Llama."""
    return ModelShape(
        architecture, keys(32, 4096, 14336, 32, 8), llama_tensors(32, 4096, 1024, 14336, VOCAB)
    )


def gemma_2b() -> ModelShape:
    more = {"attention__key_length": 256, "attention__value_length": 256}
    tensors = tied(llama_tensors(18, 2048, 256, 16384, VOCAB))
    return ModelShape("gemma", keys(18, 2048, 16384, 8, 1, **more), tensors)


def smollm3() -> ModelShape:
    tensors = tied(llama_tensors(36, 2048, 512, 11008, VOCAB))
    return ModelShape("smollm3", keys(36, 2048, 11008, 16, 4), tensors)


def olmo2() -> ModelShape:
    parts: dict[str, Shape | None] = {
        "attn_norm": None,
        "ffn_norm": None,
        "attn_q_norm": (4096,),
        "attn_k_norm": (4096,),
        "post_attention_norm": (4096,),
        "post_ffw_norm": (4096,),
    }
    tensors = changed(llama_tensors(32, 4096, 4096, 11008, VOCAB), 32, parts)
    return ModelShape("olmo2", keys(32, 4096, 11008, 32, 32), tensors)


def narrow() -> ModelShape:
    """Rows of 48 and 80: no block divides them."""
    return ModelShape("llama", keys(2, 48, 80, 4, 2), llama_tensors(2, 48, 24, 80, VOCAB))


def _all() -> Iterator[tuple[str, ModelShape]]:
    yield "mixtral-8x7b", mixtral()
    yield "qwen3-30b-a3b", qwen3moe()
    yield "qwen1.5-moe-a2.7b", qwen2moe()
    yield "deepseek-v2-lite", deepseek2()
    yield "falcon-7b", falcon()
    yield "falcon2-11b", falcon_11b()
    yield "phi-3-mini", phi3()
    yield "gemma-3-1b", gemma("gemma3", 26, 1152, 6912, 4, 1, 256, 512)
    yield "gemma-3-27b", gemma("gemma3", 62, 5376, 21504, 32, 16, 128, 1024)
    yield "gemma-2-2b", gemma("gemma2", 26, 2304, 9216, 8, 4, 256, 4096)
    yield "qwen3-0.6b", qwen3()
    yield "granite-3-8b", granite()
    yield "deci-8b", deci()
    yield "qwen2-72b", qwen2_72b()
    yield "narrow", narrow()
    yield "gemma-2b", gemma_2b()
    yield "smollm3-3b", smollm3()
    yield "olmo-2-7b", olmo2()
    for architecture in ("ernie4_5", "exaone", "internlm2", "minicpm", "mistral3"):
        yield architecture, plain(architecture)


SHAPES = dict(_all())
