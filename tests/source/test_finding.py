"""The right thing is found in a training folder, and it is said why."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployq.errors import SourceError
from deployq.source.finding import find_source
from tests.source.training_files import (
    aged,
    write_adapter,
    write_checkpoint,
    write_model,
    write_tokenizer,
)
from tests.tiny import write_tiny_llama


def test_trl_leaves_the_adapter_beside_its_checkpoints(tmp_path: Path) -> None:
    for step in (50, 100):
        aged(write_checkpoint(tmp_path, step), 100)
    write_tokenizer(write_adapter(tmp_path))
    (tmp_path / "training_args.bin").write_bytes(b"PK")
    found = find_source(tmp_path)
    assert (found.path, found.kind) == (tmp_path, "adapter")
    assert found.why == "it is a LoRA adapter"
    assert found.passed_over == ("checkpoint 50 to 100: 2 in all",)


def test_trl_after_a_full_fine_tune(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_model(tmp_path / "checkpoint-500")
    found = find_source(tmp_path)
    assert (found.path, found.kind) == (tmp_path, "model")
    assert "checkpoint 500" in found.passed_over[0]


def test_axolotl_merges_into_a_folder_below(tmp_path: Path) -> None:
    aged(write_adapter(tmp_path), 100)
    write_checkpoint(tmp_path, 20)
    merged = write_model(tmp_path / "merged")
    found = find_source(tmp_path)
    assert (found.path, found.kind) == (merged, "model")
    assert "newer than it" in found.why
    assert any("a LoRA adapter" in note for note in found.passed_over)


def test_a_merge_that_is_older_than_the_adapter_is_not_its_own(tmp_path: Path) -> None:
    aged(write_model(tmp_path / "merged"), 100)
    write_adapter(tmp_path)
    found = find_source(tmp_path)
    assert (found.path, found.kind) == (tmp_path, "adapter")
    assert "merged is older than it" in found.why


def test_unsloth_leaves_adapter_and_checkpoints_in_folders_of_their_own(tmp_path: Path) -> None:
    aged(write_checkpoint(tmp_path / "outputs", 60), 100)
    adapter = write_adapter(tmp_path / "lora_model")
    found = find_source(tmp_path)
    assert (found.path, found.kind) == (adapter, "adapter")
    assert found.why == "lora_model: it is a LoRA adapter"


def test_unsloth_with_a_merged_model_too(tmp_path: Path) -> None:
    aged(write_adapter(tmp_path / "lora_model"), 100)
    merged = write_model(tmp_path / "model_merged_16bit")
    assert find_source(tmp_path).path == merged


def test_a_merge_into_four_bits_is_not_taken(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "lora_model")
    packed = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    write_model(tmp_path / "model_merged_4bit", quantization_config=packed)
    found = find_source(tmp_path)
    assert found.path == adapter
    assert "model_merged_4bit: quantized already (bitsandbytes)" in found.passed_over


def test_nothing_but_four_bits_is_refused_with_the_way_out(tmp_path: Path) -> None:
    write_model(tmp_path / "m", quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(SourceError, match=r"quantized already .gptq.") as caught:
        find_source(tmp_path)
    assert "full-precision base" in caught.value.hint


def test_only_checkpoints(tmp_path: Path) -> None:
    for step in (20, 100, 60):
        write_checkpoint(tmp_path, step, best="outputs/checkpoint-60")
    found = find_source(tmp_path)
    assert found.path == tmp_path / "checkpoint-100"
    assert "the training saved no final model" in found.why
    assert "checkpoint-60 the best" in found.why


def test_a_checkpoint_that_was_asked_for(tmp_path: Path) -> None:
    place = write_checkpoint(tmp_path, 60)
    assert find_source(place).path == place


def test_a_gguf_beside_the_model_that_it_was_made_of(tmp_path: Path) -> None:
    write_model(tmp_path)
    gguf = write_tiny_llama(tmp_path / "model-f16.gguf")
    assert find_source(tmp_path).path == gguf


def test_several_models_and_no_rule(tmp_path: Path) -> None:
    write_model(tmp_path / "a")
    write_model(tmp_path / "b")
    with pytest.raises(SourceError, match="2 models that could be meant: a, b"):
        find_source(tmp_path)


@pytest.mark.parametrize("state", ["zero_to_fp32.py", "pytorch_model_fsdp_0"])
def test_sharded_states_of_a_training(tmp_path: Path, state: str) -> None:
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / state).write_text("")
    with pytest.raises(SourceError, match="sharded state") as caught:
        find_source(tmp_path)
    assert "zero_to_fp32" in caught.value.hint


def test_nothing_at_all(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    write_model(tmp_path / "runs" / "hidden")  # TensorBoard's folder, never looked into
    with pytest.raises(SourceError, match="holds no model"):
        find_source(tmp_path)
