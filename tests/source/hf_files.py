"""Hugging Face folders for tests: real headers and config, a hole for the weights."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployq.source.safetensors import DTYPE_BYTES

Shape = tuple[int, ...]


def entries(tensors: Mapping[str, Shape], dtype: str = "BF16") -> dict[str, Any]:
    """The header of a safetensors file."""
    made, offset = {}, 0
    for name, shape in tensors.items():
        size = DTYPE_BYTES[dtype]
        for extent in shape:
            size *= extent
        made[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    return made


def write_header(path: Path, header: object, data_bytes: int) -> Path:
    """A safetensors file with this header, true or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + data_bytes)
    return path


def write_safetensors(path: Path, tensors: Mapping[str, Shape], dtype: str = "BF16") -> Path:
    header = entries(tensors, dtype)
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    return write_header(path, header, end)


def write_folder(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Shape], dtype: str = "BF16"
) -> Path:
    """A model as `save_pretrained` leaves it."""
    folder.mkdir(exist_ok=True)
    write_safetensors(folder / "model.safetensors", tensors, dtype)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_shards(folder: Path, tensors: Mapping[str, Shape], count: int = 2) -> Path:
    """Tensors over several files, and the index of them."""
    index: dict[str, str] = {}
    names = list(tensors)
    for number in range(count):
        file = f"model-{number + 1:05}-of-{count:05}.safetensors"
        part = {name: tensors[name] for name in names[number::count]}
        write_safetensors(folder / file, part)
        index |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


LLAMA_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 256,
    "max_position_embeddings": 512,
}


def llama_stored(layers: int = 2, width: int = 64, kv: int = 32, ff: int = 128) -> dict[str, Shape]:
    """The tensors of a small Llama, by Hugging Face's names."""
    made: dict[str, Shape] = {
        "model.embed_tokens.weight": (256, width),
        "model.norm.weight": (width,),
        "lm_head.weight": (256, width),
    }
    for n in range(layers):
        prefix = f"model.layers.{n}"
        made |= {
            f"{prefix}.input_layernorm.weight": (width,),
            f"{prefix}.post_attention_layernorm.weight": (width,),
            f"{prefix}.self_attn.q_proj.weight": (width, width),
            f"{prefix}.self_attn.k_proj.weight": (kv, width),
            f"{prefix}.self_attn.v_proj.weight": (kv, width),
            f"{prefix}.self_attn.o_proj.weight": (width, width),
            f"{prefix}.mlp.gate_proj.weight": (ff, width),
            f"{prefix}.mlp.up_proj.weight": (ff, width),
            f"{prefix}.mlp.down_proj.weight": (width, ff),
        }
    return made
