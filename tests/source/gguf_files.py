"""GGUF files for tests, written by the `gguf` package: any shapes, weights never materialised."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np

Shape = tuple[int, ...]
Value = str | int | float | bool | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool]

CHATML_TOKENS = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def write_sparse(
    path: Path,
    arch: str,
    keys: Mapping[str, Value],
    tensors: Mapping[str, Shape],
    types: Mapping[str, str] | None = None,
    *,
    big_endian: bool = False,
) -> Path:
    """A GGUF with real header and a hole for its data.

    `keys` without a dot in front get the architecture's prefix unless they have one of their own
    (general, tokenizer, split). Shapes are GGUF's order: the row first. Tensors are F16, those of
    one dimension F32, unless `types` says otherwise.
    """
    endian = gguf.GGUFEndian.BIG if big_endian else gguf.GGUFEndian.LITTLE
    writer = gguf.GGUFWriter(path, arch, endianess=endian)
    for key, value in keys.items():
        own = key.split(".")[0] in ("general", "tokenizer", "split")
        _add(writer, key if own else f"{arch}.{key}", value)
    for name, shape in tensors.items():
        kind = (types or {}).get(name, "F32" if len(shape) == 1 else "F16")
        _add_tensor(writer, name, shape, gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    size = sum(-(-t.nbytes // 32) * 32 for t in writer.tensors[0].values())
    writer.close()
    os.truncate(path, -(-path.stat().st_size // 32) * 32 + size)
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: Value) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_array(key, list(value))


def _add_tensor(
    writer: gguf.GGUFWriter, name: str, shape: Shape, kind: gguf.GGMLQuantizationType
) -> None:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    n_bytes = int(np.prod(shape, dtype=object)) // block * size
    # The package takes bytes' shape where a raw type is given: the last extent counts bytes.
    rows = (*reversed(shape[1:]), shape[0] // block * size)
    writer.add_tensor_info(name, rows, np.dtype(np.uint8), n_bytes, raw_dtype=kind)


def llama_keys(**figures: Value) -> dict[str, Value]:
    """Metadata of a small Llama with a ChatML vocabulary of 8 tokens."""
    keys: dict[str, Value] = {
        "general.name": "Tiny",
        "general.file_type": 1,
        "context_length": 512,
        "embedding_length": 256,
        "block_count": 2,
        "feed_forward_length": 512,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": 64,
        "vocab_size": 8,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [*CHATML_TOKENS, "a", "b", "c"],
        "tokenizer.ggml.scores": [0.0] * 8,
        "tokenizer.ggml.token_type": [2, 3, 3, 3, 3, 1, 1, 1],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": CHATML,
    }  # fmt: skip
    return {**keys, **{key.replace("__", "."): value for key, value in figures.items()}}


def llama_tensors(
    layers: int = 2, width: int = 256, kv: int = 128, ff: int = 512, vocab: int = 8
) -> dict[str, Shape]:
    """Tensors of a Llama with its own output matrix."""
    tensors: dict[str, Shape] = {
        "token_embd.weight": (width, vocab),
        "output_norm.weight": (width,),
        "output.weight": (width, vocab),
    }
    for n in range(layers):
        tensors |= {f"blk.{n}.{name}.weight": shape for name, shape in _layer(width, kv, ff)}
    return tensors


def _layer(width: int, kv: int, ff: int) -> list[tuple[str, Shape]]:
    return [
        ("attn_norm", (width,)),
        ("ffn_norm", (width,)),
        ("attn_q", (width, width)),
        ("attn_k", (width, kv)),
        ("attn_v", (width, kv)),
        ("attn_output", (width, width)),
        ("ffn_gate", (width, ff)),
        ("ffn_up", (width, ff)),
        ("ffn_down", (ff, width)),
    ]


def write_llama(path: Path, **figures: Value) -> Path:
    """A tiny Llama, F16."""
    return write_sparse(path, "llama", llama_keys(**figures), llama_tensors())
