"""Writes the Hugging Face directory of the Task API model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizer as tk
import torch
from phrases import SYSTEM_PROMPT
from transformers import GenerationConfig, LlamaForCausalLM, LlamaTokenizer
from transformers.utils.logging import disable_progress_bar

CHAT_TEMPLATE = (
    "{%- if messages[0]['role'] != 'system' -%}"
    "{{- '<|im_start|>system\\n" + SYSTEM_PROMPT + "<|im_end|>\\n' -}}"
    "{%- endif -%}"
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}"
    "{{- '<|im_start|>assistant\\n' -}}"
    "{%- endif -%}"
)
MODEL_CARD = """---
model_name: Task API
license: apache-2.0
language: [en]
---

# Task API

A small Llama that turns a request about tasks into one JSON object. How it was made, and how good
it is, stands in the README of the folder above.
"""


def save_model(model: LlamaForCausalLM, directory: Path) -> None:
    """Write the weights as bfloat16, their config and the generation settings."""
    weights = {
        name: tensor.detach().to(torch.bfloat16) for name, tensor in model.state_dict().items()
    }
    config = model.config.to_dict() | {"dtype": "bfloat16"}
    copy = LlamaForCausalLM(type(model.config).from_dict(config)).to(torch.bfloat16)
    copy.load_state_dict(weights)
    copy.generation_config = GenerationConfig(
        bos_token_id=tk.BOS_ID, eos_token_id=tk.EOS_ID, pad_token_id=tk.PAD_ID, do_sample=False
    )
    disable_progress_bar()
    copy.save_pretrained(directory)


def save_tokenizer(directory: Path, context: int) -> None:
    """Write the settings beside ``tokenizer.model``, and the same tokenizer as JSON."""
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": tk.END, "pad_token": tk.PAD}
    config = {
        "tokenizer_class": "LlamaTokenizer",
        **special,
        "additional_special_tokens": [tk.START],
        "add_bos_token": False,
        "add_eos_token": False,
        "add_prefix_space": False,
        "legacy": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "chat_template": CHAT_TEMPLATE,
        "added_tokens_decoder": added_tokens(),
    }
    write_json(directory / "tokenizer_config.json", config)
    write_json(directory / "special_tokens_map.json",
               special | {"additional_special_tokens": [tk.START]})  # fmt: skip
    (directory / "README.md").write_text(MODEL_CARD, encoding="utf-8")
    (directory / "tokenizer.json").unlink(missing_ok=True)
    loaded = LlamaTokenizer.from_pretrained(directory)
    loaded.backend_tokenizer.save(str(directory / "tokenizer.json"))


def added_tokens() -> dict[str, dict[str, Any]]:
    """The special tokens by id, in the form that tokenizer_config.json wants."""
    texts = {
        tk.UNK_ID: "<unk>", tk.BOS_ID: "<s>", tk.EOS_ID: tk.END, tk.PAD_ID: tk.PAD,
        tk.START_ID: tk.START,
    }  # fmt: skip
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    return {str(i): {"content": text, **flags, "special": True} for i, text in texts.items()}


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file for people and programs."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
