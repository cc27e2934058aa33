"""The model of the smoke test: a Llama of one layer, the same bytes on every machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

N_CTX = 128
N_EMBD, N_FF, N_HEAD = 256, 512, 4
N_VOCAB = 288  # AMX kernels take matrices whose rows are a multiple of 32

_TYPE = gguf.GGMLQuantizationType
_MATRICES = (
    ("token_embd", N_VOCAB, N_EMBD, _TYPE.Q8_0),
    ("output", N_VOCAB, N_EMBD, _TYPE.Q6_K),
    ("blk.0.attn_q", N_EMBD, N_EMBD, _TYPE.Q8_0),
    ("blk.0.attn_k", N_EMBD, N_EMBD, _TYPE.Q8_0),
    ("blk.0.attn_v", N_EMBD, N_EMBD, _TYPE.Q8_0),
    ("blk.0.attn_output", N_EMBD, N_EMBD, _TYPE.Q8_0),
    ("blk.0.ffn_gate", N_FF, N_EMBD, _TYPE.Q4_K),
    ("blk.0.ffn_up", N_FF, N_EMBD, _TYPE.Q4_K),
    ("blk.0.ffn_down", N_EMBD, N_FF, _TYPE.Q4_K),
)
# where a block's half-precision scales are (ggml-common.h)
_SCALE_OFFSETS = {_TYPE.Q8_0: (0,), _TYPE.Q4_K: (0, 2), _TYPE.Q6_K: (208,)}


def write_smoke_model(path: Path, *, quantized: bool) -> None:
    """Write the model: F16, or with matrices of Q8_0, Q4_K and Q6_K; about a megabyte.

    The quantized one consists of arbitrary bits under small scales: an engine can be tried where
    there is no quantizer.
    """
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("smoke")
    writer.add_context_length(N_CTX)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(1)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEAD)
    writer.add_head_count_kv(N_HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(N_EMBD // N_HEAD)
    _add_vocabulary(writer)
    for name, rows, width, kind in _MATRICES:
        if quantized:
            blocks = _arbitrary_blocks(name, rows, width, kind)
            writer.add_tensor(f"{name}.weight", blocks, raw_dtype=kind)
        else:
            # whole numbers over a power of two: exact, whatever computes it
            weights = (_arbitrary_bytes(name, rows * width).astype(np.float32) - 128) / 1024
            writer.add_tensor(f"{name}.weight", weights.astype(np.float16).reshape(rows, width))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(N_EMBD, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: gguf.GGUFWriter) -> None:
    kind = gguf.TokenType
    tokens = [("<unk>", kind.UNKNOWN), ("<s>", kind.CONTROL), ("</s>", kind.CONTROL)]
    tokens += [(f"<0x{number:02X}>", kind.BYTE) for number in range(256)]
    tokens += [("▁", kind.NORMAL), *((chr(ord("a") + n), kind.NORMAL) for n in range(26))]
    tokens += [(f"~{n}", kind.NORMAL) for n in range(N_VOCAB - len(tokens))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([-1.0 if kind_ == kind.NORMAL else 0.0 for _, kind_ in tokens])
    writer.add_token_types([kind_ for _, kind_ in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def _arbitrary_bytes(name: str, count: int) -> NDArray[np.uint8]:
    """Bytes that depend on the name alone."""
    return np.frombuffer(hashlib.shake_256(name.encode()).digest(count), np.uint8)


def _arbitrary_blocks(
    name: str, rows: int, width: int, kind: gguf.GGMLQuantizationType
) -> NDArray[np.uint8]:
    per_block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    count = rows * width // per_block
    blocks = _arbitrary_bytes(name, count * block_bytes).reshape(count, block_bytes).copy()
    scale = np.frombuffer(np.float16(2**-12).tobytes(), np.uint8)
    for offset in _SCALE_OFFSETS[kind]:
        blocks[:, offset : offset + 2] = scale
    return blocks.reshape(rows, -1)
