"""Whatever a trainer's folder or a foreign file holds: a result or an error of ours, in time.

One value at a time becomes something else. `DEPLOYQ_TEST_NASTY=1` tries every one of them instead
of a sample, which takes a quarter of an hour.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployq.errors import DeployqError
from tests import nasty
from tests.source.hf_files import (
    LLAMA_CONFIG,
    llama_stored,
    write_folder,
    write_safetensors,
)

SHARE = 1.0 if os.environ.get("DEPLOYQ_TEST_NASTY") else 0.02
TOKENIZER = {
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
    "added_tokens": [{"id": 3, "content": "<|im_end|>", "special": True}],
}
TOKENIZER_CONFIG = {
    "eos_token": "<|im_end|>",
    "bos_token": {"content": "a"},
    "chat_template": "{{ messages[0].content }}<|im_end|>",
    "added_tokens_decoder": {"3": {"content": "<|im_end|>", "special": True}},
    "auto_map": {"AutoTokenizer": "own.Tokenizer"},
}
ADAPTER_CONFIG = {
    "peft_type": "LORA", "r": 8, "lora_alpha": 16, "base_model_name_or_path": "../base",
    "revision": None, "target_modules": ["q_proj"], "use_dora": False, "use_rslora": False,
    "target_parameters": None, "layer_replication": None, "modules_to_save": None,
}  # fmt: skip
# Figures of other families, each of which some config has.
CONFIG = LLAMA_CONFIG | {
    "architectures": ["LlamaForCausalLM"], "head_dim": 16, "v_head_dim": 16, "sliding_window": None,
    "sliding_window_pattern": None, "kv_lora_rank": None, "q_lora_rank": None,
    "qk_rope_head_dim": None, "num_experts": None, "num_experts_per_tok": None,
    "num_nextn_predict_layers": None,
    "attn_layer_period": None, "layer_types": None, "hybrid_override_pattern": None,
    "mamba_expand": None, "mamba_d_ssm": None, "quantization_config": None, "text_config": None,
    "rope_parameters": {"rope_type": "llama3", "factor": 8.0}, "use_sliding_window": None,
    "eos_token_id": 3, "pad_token_id": -1,
}  # fmt: skip
FILES: dict[str, Any] = {
    "config.json": CONFIG,
    "tokenizer.json": TOKENIZER,
    "tokenizer_config.json": TOKENIZER_CONFIG,
    "special_tokens_map.json": {"eos_token": {"content": "<|im_end|>"}},
    "generation_config.json": {"eos_token_id": [3], "pad_token_id": -1},
    "added_tokens.json": {"<|im_end|>": 3},
    "vocab.json": {"a": 0},
    "chat_template.json": {"chat_template": None},
    "trainer_state.json": {"best_model_checkpoint": "checkpoint-1"},
    "model.safetensors.index.json": {"weight_map": None},
}
INDEX = "model.safetensors.index.json"


def chosen(seed: str) -> Callable[[], bool]:
    """Whether a case is tried: the same ones at each run."""
    numbers = random.Random(seed)
    return lambda: numbers.random() < SHARE


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DEPLOYQ_LLAMA_CPP", "none")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = write_folder(tmp_path / "base", CONFIG, llama_stored())
    for name, content in FILES.items():
        if name != INDEX:
            nasty.write_json(folder / name, content)
    return folder


@pytest.fixture
def adapter(model: Path) -> Path:
    folder = model.parent / "adapter"
    folder.mkdir()
    halves = {
        f"base_model.model.model.layers.{n}.self_attn.q_proj.lora_{half}.weight": shape
        for n in range(2)
        for half, shape in (("A", (8, 64)), ("B", (64, 8)))
    }
    write_safetensors(folder / "adapter_model.safetensors", halves, "F32")
    nasty.write_json(folder / "adapter_config.json", ADAPTER_CONFIG)
    return folder


def ends_well(source: Path, *more: str) -> list[DeployqError]:
    """Inspects and plans; every error is ours, and names what it is about."""
    machine = ("--memory", "24GB", "--kind", "vram", "--context", "512")
    ended = (
        nasty.outcome("inspect", str(source), "--json", *more),
        nasty.outcome("plan", str(source), *machine, *more),
    )
    errors = [error for error in ended if error is not None]
    for error in errors:
        assert str(source) in error.message or "fit" in error.message, error.message
    return errors


def contents(document: Any, pick: Callable[[], bool]) -> Iterator[bytes]:
    for path in nasty.places(document):
        for value in nasty.VALUES:
            if pick():
                yield json.dumps(nasty.changed(document, path, value)).encode()
    yield from (text for text in nasty.TEXTS if SHARE == 1.0 or pick() or len(text) < 3)


@pytest.mark.parametrize("name", FILES)
def test_a_model_whose_file_holds_anything(model: Path, name: str) -> None:
    for content in contents(FILES[name], chosen(name)):
        (model / name).write_bytes(content)
        ends_well(model)


def test_an_adapter_whose_config_holds_anything(adapter: Path) -> None:
    for content in contents(ADAPTER_CONFIG, chosen("adapter")):
        (adapter / "adapter_config.json").write_bytes(content)
        ends_well(adapter, "--base", str(adapter.parent / "base"))
