"""The right thing is found in a training folder, and it is said why."""

from __future__ import annotations

import re
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


def undated(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "DATE", text)


def test_trl_leaves_the_adapter_beside_its_checkpoints(tmp_path: Path) -> None:
    for step in (50, 100):
        aged(write_checkpoint(tmp_path, step), 100)
    write_tokenizer(write_adapter(tmp_path))
    (tmp_path / "training_args.bin").write_bytes(b"PK")
    found = find_source(tmp_path)
    assert (found.path, found.kind) == (tmp_path, "adapter")
    assert undated(found.why) == "it is a LoRA adapter of DATE"
    (passed,) = found.passed_over
    assert undated(passed) == "checkpoint 50 to 100: 2 in all, the last of DATE"


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
    assert undated(found.why) == "lora_model: it is a LoRA adapter of DATE"


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
    assert "model_merged_4bit: quantized already (bitsandbytes), of DATE" in map(
        undated, found.passed_over
    )


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
    with pytest.raises(SourceError, match=r"2 models that could be meant: a .*, b "):
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


# ---------------------------------------------------------------- dates


def dated(root: Path, kinds: str) -> Path:
    """A folder with these things in it, each an hour older than the next."""
    for age, kind in enumerate(reversed(kinds.split("<"))):
        if kind == "checkpoint":
            made = write_checkpoint(root, 50)
        elif kind == "adapter":
            made = write_adapter(root / "adapter")
        else:
            made = write_model(root / "model-merged")
        aged(made, 3600 * (age + 1))
    return root


@pytest.mark.parametrize(
    ("kinds", "taken", "passed"),
    [
        ("adapter<merged", "model-merged", "adapter: a LoRA adapter of DATE"),
        ("merged<adapter", "adapter", "model-merged: a whole model of DATE"),
        ("checkpoint<adapter", "adapter", "checkpoint 50: 1 in all, the last of DATE"),
        (
            "adapter<checkpoint", "adapter",
            "checkpoint 50: 1 in all, the last of DATE, newer than the model",
        ),
        (
            "merged<checkpoint", "model-merged",
            "checkpoint 50: 1 in all, the last of DATE, newer than the model",
        ),
    ],
)  # fmt: skip
def test_dates_decide_in_folders_below(tmp_path: Path, kinds: str, taken: str, passed: str) -> None:
    found = find_source(dated(tmp_path, kinds))
    assert found.path == tmp_path / taken
    assert passed in list(map(undated, found.passed_over))
    assert "DATE" in undated(found.why)


@pytest.mark.parametrize("newer", ["gguf", "model"])
def test_a_gguf_and_the_model_in_one_folder(tmp_path: Path, newer: str) -> None:
    write_model(tmp_path)
    gguf = write_tiny_llama(tmp_path / "model-f16.gguf")
    for file in tmp_path.iterdir():
        if (file == gguf) == (newer == "model"):
            aged(file, 3600)
    found = find_source(tmp_path)
    assert (found.path, found.kind) == (gguf if newer == "gguf" else tmp_path, newer)
    kinds = {"gguf": "a full-precision GGUF", "model": "a whole model"}
    older = "model" if newer == "gguf" else "gguf"
    assert f"is {kinds[newer]} of DATE" in undated(found.why)
    assert [kinds[older] in note for note in found.passed_over] == [True]


def both(folder: Path, *, base: str = "org/base", older: str = "") -> Path:
    """A folder with an adapter and a whole model in it."""
    write_model(folder)
    write_adapter(folder, base=base)
    names = ("model.safetensors", "adapter_model.safetensors")
    if older:
        aged(folder / names[older == "adapter"], 3600)
    return folder


def test_an_adapter_beside_its_base_is_not_taken_as_merged(tmp_path: Path) -> None:
    found = find_source(both(tmp_path, older="model"))
    assert (found.path, found.kind) == (tmp_path, "adapter")
    assert "can't be a merge of it" in found.why
    assert any("a whole model of" in note for note in found.passed_over)


def test_an_adapter_that_names_the_folder_that_it_is_in(tmp_path: Path) -> None:
    found = find_source(both(tmp_path, base=str(tmp_path), older="adapter"))
    assert found.kind == "adapter"
    assert "names the model beside it as its base" in found.why


def test_a_model_that_is_newer_than_the_adapter_beside_it(tmp_path: Path) -> None:
    found = find_source(both(tmp_path, older="adapter"))
    assert (found.path, found.kind) == (tmp_path, "model")
    assert "taken as its merge" in found.why
    assert any("a LoRA adapter of" in note for note in found.passed_over)


def test_an_adapter_and_a_model_without_an_order_are_refused(tmp_path: Path) -> None:
    folder = both(tmp_path)
    with pytest.raises(SourceError, match="nothing tells whether that is its base") as caught:
        find_source(folder)
    assert f"deployq push {folder / 'model.safetensors'}" in caught.value.hint
    assert "--base org/base" in caught.value.hint
    assert find_source(folder / "model.safetensors").kind == "model"
    assert find_source(folder / "adapter_model.safetensors").kind == "adapter"
    assert find_source(folder, "adapter").kind == "adapter"
    assert find_source(folder, "model").kind == "model"


def test_a_second_run_in_a_folder_below_is_said(tmp_path: Path) -> None:
    aged(write_adapter(tmp_path), 3600)
    write_adapter(tmp_path / "second-run")
    found = find_source(tmp_path)
    assert found.path == tmp_path
    assert list(map(undated, found.passed_over)) == [
        "second-run: a LoRA adapter of DATE, newer than what is taken"
    ]


def test_a_later_step_of_an_earlier_run(tmp_path: Path) -> None:
    aged(write_checkpoint(tmp_path, 500), 3600)
    write_checkpoint(tmp_path, 100)
    found = find_source(tmp_path)
    assert found.path.name == "checkpoint-500"
    (passed,) = map(undated, found.passed_over)
    assert passed.endswith("the last of DATE, newer than the one that is taken")


def test_models_that_could_be_meant_are_named_with_their_dates(tmp_path: Path) -> None:
    write_adapter(tmp_path / "run1")
    write_adapter(tmp_path / "run2")
    with pytest.raises(SourceError) as caught:
        find_source(tmp_path)
    assert "run1 (a LoRA adapter of DATE), run2 (a LoRA adapter of DATE)" in undated(
        caught.value.message
    )
