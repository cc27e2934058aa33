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


# ---------------------------------------------------------------- seen in public reports


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("config.json", {"num_hidden_layers": 1e30}, "num_hidden_layers is 1e+30, and not a whole"),
        ("config.json", {"num_hidden_layers": "4"}, 'num_hidden_layers is "4", and not a whole'),
        ("config.json", {"hidden_size": -1}, "hidden_size is -1, and not a whole number from 0"),
        ("config.json", {"rope_parameters": []}, "rope_parameters is a list of 0, and not an obj"),
        ("tokenizer_config.json", {"added_tokens_decoder": []}, "added_tokens_decoder is a list"),
        ("tokenizer.json", {"model": {"vocab": {"a": "0"}}}, 'model.vocab.a is "0", and not a who'),
        ("generation_config.json", {"eos_token_id": [3, "x"]}, "eos_token_id is a list of 2, and"),
    ],
)
def test_a_value_that_no_model_has_is_named(
    model: Path, file: str, change: dict[str, Any], said: str
) -> None:
    nasty.write_json(model / file, FILES[file] | change)
    (error, *_) = ends_well(model)
    assert f"{model / file}: {said}" in error.message
    assert error.hint


def test_a_rank_in_words_is_named(adapter: Path) -> None:
    nasty.write_json(adapter / "adapter_config.json", ADAPTER_CONFIG | {"r": "eight"})
    (error, *_) = ends_well(adapter, "--base", str(adapter.parent / "base"))
    assert f'{adapter / "adapter_config.json"}: r is "eight", and not a whole' in error.message


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"pad_token_id": -1, "sliding_window": -1, "head_dim": None}),
        ("config.json", {"time_step_limit": [0.0, float("inf")], "mamba_dt_rank": "auto"}),
        ("config.json", {"intermediate_size": [128, 128], "sliding_window_pattern": "LLLG"}),
        ("config.json", {"hidden_size": 64.0, "sliding_window": False}),
        ("generation_config.json", {"pad_token_id": -1, "eos_token_id": 3}),
        ("tokenizer_config.json", {"extra_special_tokens": ["<x>"], "model_max_length": 10**30}),
        ("trainer_state.json", {"log_history": [{"loss": float("nan")}]}),
    ],
)
def test_what_real_models_say_is_taken(model: Path, file: str, change: dict[str, Any]) -> None:
    nasty.write_json(model / file, FILES[file] | change)
    assert not ends_well(model)


def test_the_empty_tensors_of_deepspeed(model: Path) -> None:
    write_safetensors(model / "model.safetensors", dict.fromkeys(llama_stored(), (0,)))
    (error, *_) = ends_well(model)
    assert "21 of its 21 tensors are empty" in error.message
    assert "DeepSpeed ZeRO-3" in error.message
    assert "stage3_gather_16bit_weights_on_model_save" in error.hint


@pytest.mark.parametrize("name", [*llama_stored(1), "model.layers.0.self_attn.scale"])
def test_a_tensor_without_a_dimension(model: Path, name: str) -> None:
    write_safetensors(model / "model.safetensors", llama_stored() | {name: ()})
    ends_well(model)


def test_an_adapter_whose_halves_are_no_matrices(adapter: Path) -> None:
    halves = {
        f"base_model.model.model.layers.0.self_attn.q_proj.lora_{half}.weight": (8,)
        for half in "AB"
    }
    write_safetensors(adapter / "adapter_model.safetensors", halves, "F32")
    assert not ends_well(adapter, "--base", str(adapter.parent / "base"))  # a warning of the plan
