"""Adapters of every kind, merged for real and held against transformers and PEFT unmerged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import deployq_converters
import deployq_unsloth
import pytest

import deployq
from deployq import proc
from tests.convert.conftest import SAMPLE, TOKENIZER

pytestmark = [pytest.mark.convert, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
RUNNER = Path(deployq_converters.__file__).parent
JOBSIDE = Path(deployq.__file__).parent / "foreign"
TOKENS = 2048

QUIET = {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive", "PYTHONDONTWRITEBYTECODE": "1"}
PROVE = """
import sys, pathlib
sys.path += sys.argv[1:3]
import jobside, runner.proof
for given in sys.argv[3:]:
    folder, merged = pathlib.Path(given).parent, pathlib.Path(given)
    try:
        runner.proof.prove(folder / "adapter", folder / "base", merged)
    except jobside.Refused as exc:
        print("REFUSED", exc)
"""

LIMITS = """
import sys, pathlib
sys.path += sys.argv[1:3]
import jobside, torch, runner.merge_proof as proof
base = torch.full((3, 5), 20.0)
for off in (0.04, 0.09, 0.2):
    for working in (torch.float32, torch.bfloat16):
        try:
            answers = (base, base + 0.5, base + 0.5 + off)
            proof.require_answers(answers, pathlib.Path("a"), working)
        except jobside.Refused as exc:
            print("REFUSED", off, working)
"""

Merged = Mapping[str, Any]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By case, its folders `base`, `adapter` and `output`, which is merged."""
    return tmp_path_factory.mktemp("adapters")


@pytest.fixture(scope="module")
def merged(python: Path, out: Path) -> Mapping[str, Merged]:
    """What became of each case of adapters.py, by its name."""
    (out / "files").mkdir()
    for name in TOKENIZER:
        (out / "files" / name).write_bytes((SAMPLE / "model" / name).read_bytes())
    argv: list[str | Path] = [
        python,
        "-W",
        "ignore",
        HERE / "adapters.py",
        RUNNER,
        JOBSIDE,
        out / "files",
        out,
    ]
    said = proc.run(argv, env=QUIET, timeout_seconds=500).stdout.splitlines()
    cases = [json.loads(line) for line in said if line.startswith('{"name"')]
    return {case["name"]: case for case in cases}


def noted(case: Merged) -> str:
    assert not case.keys() & {"refused", "broke"}, case
    return " | ".join(case["notes"])


@pytest.mark.parametrize(
    "name",
    [
        "plain", "rslora", "dora", "ranks_by_pattern", "pissa", "olora", "orthogonal", "eva",
        "lora_bias", "all_biases", "turned_matrices", "one_layer_only", "pickled",
        "experts_mixtral", "experts_qwen3", "experts_gpt_oss", "experts_one_by_one", "router",
        "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "mistral3", "smolvlm", "llava", "internvl", "gemma3",
        "qwen2_5_vl_as_older_versions_named_it", "llava_as_older_versions_named_it",
        "gemma3_trained_as_a_text_model",
    ],
)  # fmt: skip
def test_a_merged_model_is_the_base_with_its_adapter(
    merged: Mapping[str, Merged], name: str
) -> None:
    case = merged[name]
    assert "are base + scaled BA" in noted(case)
    assert case["same"]
    assert case["off"] < 1e-4
    assert case["rows"] == TOKENS


def test_a_merge_is_rounded_once(merged: Mapping[str, Merged]) -> None:
    case = merged["in_bfloat16"]
    assert "merging in float32, saved as bfloat16" in noted(case)
    assert 1e-5 < case["off"] < 0.05


def test_what_prepares_images_is_kept(merged: Mapping[str, Merged]) -> None:
    assert "preprocessor_config.json" in merged["qwen2_vl"]["files"]
    assert "tokenizer.json" in merged["qwen2_vl"]["files"]


@pytest.mark.parametrize(
    ("name", "tied"),
    [
        ("tied_head", False),
        ("tied_embedding", False),
        ("tied_both", False),
        ("tied_embedding_whole", False),
        ("tied_head_whole", False),
        ("tied_both_whole", False),
        ("tied_together", True),
        ("tied_tokens", True),
        ("untied_both_whole", False),
        ("gemma_together", True),
    ],
)
def test_embedding_and_head_that_are_tied_in_the_base(
    merged: Mapping[str, Merged], name: str, *, tied: bool
) -> None:
    """PEFT trains either alone unless told otherwise; merged, both answer as in training."""
    case = merged[name]
    assert ("no longer tied" in noted(case)) == (not tied and name.startswith("tied"))
    assert (case["same"], case["tied"]) == (True, tied)
    assert case["off"] < 1e-4


@pytest.mark.parametrize(
    ("name", "rows", "resized"),
    [
        ("padding_cut", TOKENS, "from 2112 to 2048 rows"),
        ("new_tokens_whole", TOKENS + 2, "from 2048 to 2050 rows"),
        ("new_tokens_trained_alone", TOKENS + 2, "from 2048 to 2050 rows"),
        ("new_tokens_in_padding", TOKENS + 64, ""),
    ],
)
def test_rows_of_the_embedding(
    merged: Mapping[str, Merged], name: str, rows: int, resized: str
) -> None:
    case = merged[name]
    assert resized in noted(case)
    assert bool(resized) == ("resized" in noted(case))
    assert (case["same"], case["rows"]) == (True, rows)
    assert case["off"] < 1e-4


@pytest.mark.parametrize(
    ("name", "cause", "way_out"),
    [
        ("targets_cut", "leaves 4 of its 8 tensors out", "add 'v_proj' to target_modules"),
        ("dora_off", "says use_dora: false", "set use_dora to true"),
        ("dora_on", "lacks 4 tensors that its adapter_config.json announces", "set use_dora"),
        ("another_prefix", "lack PEFT's prefix base_model.model.", "save_pretrained()"),
        ("an_unknown_layer", "the base has no model.layers.7.self_attn.q_proj", "--base"),
        ("a_half_lost", "layers.1.self_attn.v_proj.lora_B", "save_pretrained()"),
        ("a_whole_module_lost", "names a module that was trained whole", "save_pretrained()"),
        ("lora_bias_without_a_place", "the base layer has no bias", "lora_bias=False"),
        ("pissa_niter", "random approximation", "path_initial_model_for_weight_conversion"),
        ("activated", "aLoRA does not support", "merge it where it was trained"),
        ("new_tokens_untrained", "for 2 of the new ones, such as '<|tool|>'", "modules_to_save"),
        ("gemma_embedding_alone", "one tensor for both", "ensure_weight_tying=True"),
    ],
)
def test_what_can_not_be_merged(
    merged: Mapping[str, Merged], name: str, cause: str, way_out: str
) -> None:
    case = merged[name]
    assert cause in case.get("refused", case)
    assert way_out in case["hint"]
    assert "was not trained on this base" not in case["refused"]


def test_a_merge_by_unsloth_is_held_against_what_training_started_from(
    merged: Mapping[str, Merged], out: Path, python: Path
) -> None:
    """Without Unsloth: its proof goes by the files alone. PiSSA and OLoRA change the base first."""
    right = [out / name / "output" for name in ("plain", "rslora", "pissa", "olora")]
    wrong = [out / "plain" / "base", out / "pissa" / "adapter", out / "pissa_niter" / "base"]
    assert all("off" in merged[folder.parent.name] for folder in right)
    argv: list[str | Path] = [python, "-c", PROVE, Path(deployq_unsloth.__file__).parent, JOBSIDE]
    said = proc.run([*argv, *right, *wrong], env=QUIET, timeout_seconds=100).stdout
    assert said.count("4 of 4 matrices are base + scaled BA") == 3
    assert "14 of 14 matrices are base + scaled BA" in said
    refused = [line for line in said.splitlines() if line.startswith("REFUSED")]
    causes = ("is still its base's", "none of its 4 matrices was found", "random approximation")
    assert [cause for cause, line in zip(causes, refused, strict=True) if cause in line] == [
        *causes
    ]


def test_how_far_answers_may_be_off_goes_by_what_the_adapter_changes(python: Path) -> None:
    """By 0.5 here: a tenth of it, or a quarter where there is no memory for float32."""
    said = proc.run([python, "-c", LIMITS, RUNNER, JOBSIDE], env=QUIET, timeout_seconds=100).stdout
    assert [line for line in said.splitlines() if line.startswith("REFUSED")] == [
        "REFUSED 0.09 torch.float32",
        "REFUSED 0.2 torch.float32",
        "REFUSED 0.2 torch.bfloat16",
    ]
