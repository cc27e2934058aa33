"""What trainers leave: models with weights, tokenizers, adapters, checkpoints, in real formats."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.source.hf_files import LLAMA_CONFIG, llama_stored, write_header

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
)
TARGETS = ("q_proj", "v_proj")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]], dtype: str) -> Path:
    """A safetensors file with these values: F32, F16, or BF16 (cut off, not rounded)."""
    header, parts, offset = {}, [], 0
    for name, array in arrays.items():
        wide = array.astype("<f4")
        raw = {
            "F32": lambda wide=wide: wide,
            "F16": lambda wide=wide: wide.astype("<f2"),
            "BF16": lambda wide=wide: (wide.view("<u4") >> 16).astype("<u2"),
        }[dtype]().tobytes()
        header[name] = {
            "dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + len(raw)],
        }  # fmt: skip
        parts.append(raw)
        offset += len(raw)
    write_header(path, header, 0)
    with path.open("ab") as stream:
        stream.write(b"".join(parts))
    return path


def write_model(folder: Path, dtype: str = "BF16", **config: Any) -> Path:
    """A whole small Llama with random weights, a tokenizer and a chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(0)
    arrays = {name: numbers.normal(0, 0.02, shape) for name, shape in llama_stored().items()}
    write_arrays(folder / "model.safetensors", arrays, dtype)
    (folder / "config.json").write_text(json.dumps(LLAMA_CONFIG | {"eos_token_id": 2} | config))
    return write_tokenizer(folder)


def write_tokenizer(folder: Path, n_tokens: int = 256, **config: Any) -> Path:
    """A tokenizer.json of this many tokens; <|im_end|>, its EOS, has the id 2."""
    folder.mkdir(parents=True, exist_ok=True)
    special = ["<unk>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {text: i for i, text in enumerate(special)}
    vocabulary |= {f"t{i}": i for i in range(len(special), n_tokens)}
    added = [{"id": i, "content": text, "special": True} for i, text in enumerate(special)]
    whole = {"model": {"type": "BPE", "vocab": vocabulary, "merges": []}, "added_tokens": added}
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    values = {"eos_token": "<|im_end|>", "chat_template": TEMPLATE} | config
    (folder / "tokenizer_config.json").write_text(
        json.dumps({key: value for key, value in values.items() if value is not None})
    )
    return folder


def write_adapter(
    folder: Path, *, width: int = 64, zero: bool = False, base: str = "../base", **config: Any
) -> Path:
    """A LoRA adapter of rank 4 on two matrices of every layer."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers, arrays = np.random.default_rng(1), {}
    for layer in range(2):
        for target, rows in zip(TARGETS, (width, width // 2), strict=True):
            name = f"base_model.model.model.layers.{layer}.self_attn.{target}"
            arrays[f"{name}.lora_A.weight"] = numbers.normal(0, 0.1, (4, width))
            b = numbers.normal(0, 0.1, (rows, 4))
            arrays[f"{name}.lora_B.weight"] = b * 0 if zero else b
    write_arrays(folder / "adapter_model.safetensors", arrays, "F32")
    stated = {
        "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": list(TARGETS),
        "base_model_name_or_path": base,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(stated | config))
    return folder


def add_arrays(adapter: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    """Give an adapter more tensors, by the base's names."""
    file, numbers = adapter / "adapter_model.safetensors", np.random.default_rng(2)
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    arrays = {
        name: np.frombuffer(content[start + at : start + end], "<f4").reshape(entry["shape"])
        for name, entry in json.loads(content[8:start]).items()
        for at, end in [entry["data_offsets"]]
    }
    more = {f"base_model.model.{n}": numbers.normal(0, 0.1, s) for n, s in shapes.items()}
    write_arrays(file, {**arrays, **more}, "F32")
    return adapter


def write_checkpoint(folder: Path, step: int, best: str | None = None) -> Path:
    """What transformers' Trainer leaves every so often, an adapter in it."""
    place = write_adapter(folder / f"checkpoint-{step}")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        (place / name).write_bytes(b"PK\x03\x04")
    state = {"global_step": step, "best_model_checkpoint": best}
    (place / "trainer_state.json").write_text(json.dumps(state))
    return place


def aged(path: Path, seconds: float) -> Path:
    """The same, as if its files had been written so long ago."""
    for file in [path, *path.rglob("*")]:
        at = file.stat().st_mtime - seconds
        os.utime(file, (at, at))
    return path
