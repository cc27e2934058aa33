"""From what a training left to verified tags, for real: PyTorch, PEFT, llama.cpp, Ollama."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from deployq import Endpoint, inspect, proc
from deployq.tags.versions import keeps_weights
from tests.convert.conftest import SAMPLE, Pushing

pytestmark = [pytest.mark.convert, pytest.mark.tools, pytest.mark.timeout(900)]


def converted(push: Pushing) -> list[Path]:
    """The full-precision files in the project's store."""
    files = sorted((push.project.folder / "cache" / "artifacts").glob("*/*/model.gguf"))
    return [file for file in files if not inspect(file).quantized]


def test_the_sample_from_its_training_folder(push: Pushing) -> None:
    suite = push.project.write("sample.toml", (SAMPLE / "suite.toml").read_text())
    push.project.configure(
        SAMPLE / "model", suite, "parameters = { temperature = 0 }", url=push.url
    )
    ran = push.project.run("push", "m", "--quants", "Q8_0,Q4_K_M", "--json")
    assert ran.code == 0, ran.err
    (target,) = ran.json["targets"]
    assert [tag["quant"] for tag in target["tags"]] == ["Q8_0", "Q4_K_M"]
    assert [step["step"] for step in target["tags"][0]["steps"]][:2] == ["convert", "quantize"]
    assert all(tag["verification"]["passed"] >= 22 for tag in target["tags"])
    (file,) = converted(push)
    made = inspect(file)
    assert (made.dtype, made.name, made.format) == ("BF16", "m", "gguf")
    again = push.project.run("push", "m", "--quants", "Q8_0,Q4_K_M", "--json")
    assert {tag["status"] for tag in again.json["targets"][0]["tags"]} == {"unchanged"}
    assert "convert" not in again.err
    assert converted(push) == [file]


def test_the_base_answers_as_it_was_trained(push: Pushing) -> None:
    ran = push("base", "BASE")
    assert ran.code == 0, ran.err
    assert push("base", "TUNED").code == 4, "these are the adapter's answers"


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("trl", "it is a LoRA adapter"),
        ("axolotl", "merged is the adapter merged into its base"),
        ("unsloth", "lora_model: it is a LoRA adapter"),
    ],
)
def test_what_each_trainer_leaves(push: Pushing, folder: str, told: str) -> None:
    ran = push(folder, "TUNED", f'base = "{push.project.made / "base"}"')
    assert ran.code == 0, ran.err
    assert any(told in note for note in ran.json["plan"]["notes"])
    assert folder != "trl" or "matrices under it are base + scaled BA" in ran.err


@pytest.mark.parametrize("kind", ["dora", "rslora"])
def test_other_kinds_of_adapters(push: Pushing, kind: str) -> None:
    ran = push(kind, "TUNED")
    assert ran.code == 0, ran.err
    assert "scaled BA" in ran.err


def test_an_adapter_with_a_token_of_its_own(push: Pushing) -> None:
    ran = push("tokens", "TUNED")
    assert ran.code == 4, ran.err  # one answer of four is another one
    assert "embedding resized from" in ran.err
    verification = ran.json["targets"][0]["tags"][0]["verification"]
    assert verification["passed"] == 3
    (failed,) = verification["failed"]
    assert failed["answer"].strip().endswith("called")


def test_several_files_make_the_same_weights(push: Pushing) -> None:
    ran = push("sharded", "BASE")
    assert ran.code == 0, ran.err
    assert len(list((push.project.made / "sharded").glob("*.safetensors"))) > 1


def test_an_adapter_attached_to_its_base(push: Pushing, real_ollama: Endpoint) -> None:
    """Servers before 0.34.1 take it; newer ones can't, and nothing is quantized for them."""
    ran = push("trl", "TUNED", 'adapter = "attach"')
    if not keeps_weights(real_ollama.version):
        assert ran.code == 0, ran.err
        shown = push.project.run("show", "m:laptop", "--host", push.url, "--modelfile").out
        assert "ADAPTER" in shown
        return
    assert ran.code == 5, ran.err
    assert "takes no LoRA adapters" in ran.err
    assert 'adapter = "merge"' in ran.err


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("folder", "cause", "way_out"),
    [
        ("untrained", "was never trained", "save the adapter after training"),
        ("other", "was not trained on this base", "--base"),
        ("bpe", "does not know the pre-tokenizer", "pre_tokenizer ="),
    ],
)
def test_what_can_not_work_is_stopped_before(
    push: Pushing, folder: str, cause: str, way_out: str
) -> None:
    ran = push(folder, "BASE", f'base = "{push.project.made / "base"}"')
    assert ran.code == 1, ran.err
    assert cause in ran.err
    assert way_out in ran.err
    assert "converting" not in ran.err


def test_a_pre_tokenizer_named_by_hand_is_held_against_the_training(push: Pushing) -> None:
    wrong = push("bpe", "BASE", 'pre_tokenizer = "llama-bpe"')
    assert wrong.code == 1, wrong.err
    assert "splits" in wrong.err
    right = push("bpe", "BASE", 'pre_tokenizer = "gpt-2"')
    assert right.code == 4, right.err  # an untrained model answers nothing of use
    assert "converted to BF16" in right.err


# ---------------------------------------------------------------- crowded folders

AS_PICKLE = (
    "import sys, torch; from safetensors.torch import load_file; "
    "torch.save(load_file(sys.argv[1]), sys.argv[2])"
)


def test_an_adapter_as_a_pickle_file_in_the_folder_of_its_base(
    push: Pushing, python: Path, tmp_path: Path
) -> None:
    """Beside an index and a shard of an earlier save: PyTorch and the converter see none of it."""
    folder = tmp_path / "crowded"
    shutil.copytree(push.project.made / "base", folder)
    for file in (push.project.made / "sharded").glob("model-00001-of-*.safetensors"):
        shutil.copyfile(file, folder / file.name)
    shutil.copyfile(
        push.project.made / "sharded" / "model.safetensors.index.json",
        folder / "model.safetensors.index.json",
    )
    for file in folder.iterdir():
        os.utime(file, (1e9, 1e9) if file.name == "model.safetensors" else (9e8, 9e8))
    trl = push.project.made / "trl"
    shutil.copyfile(trl / "adapter_config.json", folder / "adapter_config.json")
    weights = (trl / "adapter_model.safetensors", folder / "adapter_model.bin")
    proc.run([python, "-c", AS_PICKLE, *weights], timeout_seconds=120)
    refused = push(folder, "TUNED")
    assert refused.code == 1, refused.err
    assert "--allow pickle" in refused.err
    ran = push(folder, "TUNED", 'allow = ["pickle"]')
    assert ran.code == 0, ran.err
    notes = " ".join(ran.json["plan"]["notes"])
    assert "the model beside it is older, so it can't be a merge of it" in notes
    assert "not taken: model-00001-of-" in notes
