"""A training folder as a user types it: what is found, what is told, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Project
from tests.source.test_pickled import pickled_adapter
from tests.source.training_files import (
    aged,
    write_adapter,
    write_checkpoint,
    write_model,
    write_tokenizer,
)


@pytest.fixture
def bare(tmp_path: Path) -> Project:
    """A folder with no configuration, on a machine that can't convert."""
    return Project(tmp_path)


def run(project: Project, *arguments: str) -> tuple[int, str, str]:
    ran = project.run(*arguments, DEPLOYQ_TOOLS_DIR=str(project.folder / "tools"))
    return ran.code, ran.out, ran.err


def test_inspect_says_what_was_chosen(bare: Project) -> None:
    out = bare.folder / "outputs"
    aged(write_checkpoint(out, 50), 100)
    write_adapter(out)
    base = write_model(bare.folder / "base")
    code, text, _ = run(bare, "inspect", "outputs")
    assert code == 0
    assert "source: it is a LoRA adapter" in text
    assert "not taken: checkpoint 50: 1 in all" in text
    assert f"LoRA adapter of rank 4, to be merged into {base.resolve()}" in text.replace("\n", "")


def test_a_plan_counts_merge_and_conversion(bare: Project) -> None:
    write_adapter(bare.folder / "adapter")
    write_model(bare.folder / "base")
    ran = bare.run("plan", "adapter", "--memory", "8GB", "--kind", "ram", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["source"]["dtype"] == "BF16"
    steps = {step["what"]: step["needed_bytes"] for step in ran.json["disk"]["steps"]}
    model = (bare.folder / "base" / "model.safetensors").stat().st_size
    assert steps["merged model, until it is converted"] == model
    assert steps["converted model (BF16)"] > 0.9 * model


def test_a_plan_tells_what_push_stops_at(bare: Project) -> None:
    write_tokenizer(write_model(bare.folder / "model"), chat_template=None)
    ran = bare.run("plan", "model", "--memory", "8GB", "--kind", "ram", "--json")
    (warning,) = [w for w in ran.json["warnings"] if "chat template" in w]
    assert warning.endswith("(push will stop here)")
    options = ("--memory", "8GB", "--kind", "ram", "--json", "--allow", "template")
    (warning,) = [w for w in bare.run("plan", "model", *options).json["warnings"] if "chat" in w]
    assert "will stop" not in warning


def test_a_push_stops_there_before_it_looks_for_tools(bare: Project) -> None:
    write_tokenizer(write_model(bare.folder / "model"), chat_template=None)
    code, _, err = run(bare, "push", "model", "--targets", "laptop")
    assert code == 1
    assert "has no chat template" in err
    assert 'allow = ["template"]' in err


def test_nothing_here_converts_it(bare: Project) -> None:
    write_model(bare.folder / "model")
    code, _, err = run(bare, "push", "model", "--targets", "laptop")
    assert code == 6
    assert "can't be converted here" in err
    assert "deployq tools install convert" in err


def test_a_base_outside_of_the_adapters_folder_is_not_followed(bare: Project) -> None:
    base = write_model(bare.folder / "elsewhere" / "base")
    write_adapter(bare.folder / "work" / "adapter", base="../../elsewhere/base")
    code, _, err = run(bare, "plan", "work/adapter", "--memory", "8GB", "--kind", "ram")
    assert code == 1
    assert "outside of its own folder" in err
    assert f"--base {base.resolve()}" in err
    options = ("--memory", "8GB", "--kind", "ram", "--base", "elsewhere/base")
    assert run(bare, "plan", "work/adapter", *options)[0] == 0


def test_the_wrong_base(bare: Project) -> None:
    write_model(bare.folder / "base")
    write_adapter(bare.folder / "adapter", width=128)
    code, _, err = run(bare, "push", "adapter", "--targets", "laptop")
    assert code == 1
    assert "was not trained on this base" in err


def test_a_base_is_found_by_its_name_beside_the_adapter(bare: Project) -> None:
    base = write_model(bare.folder / "Llama-1B")
    write_adapter(bare.folder / "adapter", base="org/Llama-1B")
    code, text, err = run(bare, "inspect", "adapter")
    assert code == 0, err
    said = f"base: {base.resolve()}, beside the adapter (it names org/Llama-1B)"
    assert "".join(said.split()) in "".join(text.split())  # a long path is broken anywhere


def test_a_base_that_looks_like_a_path_is_not_asked_of_the_hub(bare: Project) -> None:
    write_adapter(bare.folder / "adapter", base="outputs/stage1")
    code, _, err = run(bare, "plan", "adapter", "--memory", "8GB", "--kind", "ram")
    told = " ".join(err.split())
    assert code == 1
    assert "names outputs/stage1 as its base, which is not on this machine" in told
    assert "--base PATH" in told


def test_an_adapter_in_a_pickle_file_needs_trust(bare: Project) -> None:
    write_model(bare.folder / "base")
    _, adapter = pickled_adapter(bare.folder)
    options = ("--memory", "8GB", "--kind", "ram", "--json", "--base", "base")
    plain = bare.run("plan", str(adapter), *options).json["warnings"]
    trusted = bare.run("plan", str(adapter), *options, "--allow", "pickle").json["warnings"]
    assert [w.endswith("(push will stop here)") for w in plain if "adapter_model.bin" in w] == [
        True
    ]
    assert [w.endswith("when they are read") for w in trusted if ".bin" in w] == [True]
