"""What would make a conversion useless is found before it starts, one test each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployq import source
from deployq.errors import SourceError
from deployq.source.adapter import check_adapter, full_precision_name, read_adapter
from deployq.source.inspect import inspect
from deployq.source.preflight import check_folder, check_scan, check_senses
from deployq.source.saves import choose_save, left_out_notes
from deployq.types import Failed, Finding, Remark
from tests.source.hf_files import llama_stored, write_shards
from tests.source.training_files import (
    TARGETS,
    TEMPLATE,
    add_arrays,
    write_adapter,
    write_arrays,
    write_model,
    write_tokenizer,
)

SHAPES = llama_stored()


def checks(found: list[Finding]) -> list[tuple[str, bool]]:
    return [(finding.check, isinstance(finding, Failed)) for finding in found]


def test_a_good_model_has_no_findings(tmp_path: Path) -> None:
    assert list(check_folder(write_model(tmp_path / "m"))) == []


# ---------------------------------------------------------------- tokenizer


def test_no_chat_template(tmp_path: Path) -> None:
    folder = write_tokenizer(write_model(tmp_path / "m"), chat_template=None)
    (found,) = check_folder(folder)
    assert (found.check, type(found)) == ("template", Failed)
    assert 'allow = ["template"]' in found.hint


@pytest.mark.parametrize("where", ["jinja", "json", "named"])
def test_a_chat_template_stands_in_several_places(tmp_path: Path, where: str) -> None:
    folder = write_tokenizer(write_model(tmp_path / "m"), chat_template=None)
    if where == "jinja":
        (folder / "chat_template.jinja").write_text(TEMPLATE)
    elif where == "json":
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    else:
        write_tokenizer(folder, chat_template=[{"name": "default", "template": TEMPLATE}])
    assert list(check_folder(folder)) == []


def test_no_tokenizer(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    (found,) = check_folder(folder)
    assert (found.check, type(found)) == ("tokenizer", Failed)
    assert "tokenizer.save_pretrained" in found.hint


@pytest.mark.parametrize("where", ["config", "generation_config", "list"])
def test_an_eos_that_the_model_does_not_know(tmp_path: Path, where: str) -> None:
    folder = write_model(tmp_path / "m", eos_token_id=[0, 1] if where == "list" else 1)
    if where == "generation_config":
        (folder / "config.json").write_text(
            (folder / "config.json").read_text().replace('"eos_token_id": 1', '"eos_token_id": 2')
        )
        (folder / "generation_config.json").write_text('{"eos_token_id": 0}')
    (found,) = check_folder(folder)
    assert (found.check, type(found)) == ("eos", Failed)
    assert "'<|im_end|>' (id 2)" in found.message
    assert "would not stop" in found.message


def test_generation_config_goes_before_config(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", eos_token_id=1)
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 1]}')
    assert list(check_folder(folder)) == []


def test_an_eos_beside_the_template_is_told(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", eos_token_id=0)
    write_tokenizer(folder, eos_token="<unk>")
    assert checks(list(check_folder(folder))) == [("eos", False)]


def test_a_vocabulary_larger_than_the_embedding(tmp_path: Path) -> None:
    folder = write_tokenizer(write_model(tmp_path / "m"), n_tokens=260)
    (found,) = check_folder(folder)
    assert (found.check, type(found)) == ("vocabulary", Failed)
    assert "ids up to 259, the embedding 256 rows" in found.message
    assert "resize_token_embeddings" in found.hint


def test_a_vocabulary_smaller_than_the_embedding_is_usual(tmp_path: Path) -> None:
    assert list(check_folder(write_tokenizer(write_model(tmp_path / "m"), n_tokens=200))) == []


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(tmp_path: Path, dtype: str, value: float) -> None:
    folder = write_model(tmp_path / "m")
    bad = np.zeros((8, 8))
    bad[3, 5] = value
    arrays = {"good.weight": np.ones((4, 4)), "bad.weight": bad}
    write_arrays(folder / "model.safetensors", arrays, dtype)
    scan = source.scan_weights([folder / "model.safetensors"])
    assert scan.not_numbers == ("bad.weight",)
    (found,) = check_scan(folder, scan, "BF16")
    assert (found.check, type(found)) == ("weights", Failed)
    assert "bad.weight" in found.message


@pytest.mark.parametrize(
    ("value", "above"), [(65504.0, False), (65519.9, False), (65536.0, True), (-7e4, True)]
)
def test_values_that_no_f16_holds(tmp_path: Path, value: float, above: bool) -> None:
    file = write_arrays(tmp_path / "w.safetensors", {"w.weight": np.full((2, 2), value)}, "F32")
    scan = source.scan_weights([file])
    assert bool(scan.above_f16) is above
    with np.errstate(over="ignore"):
        assert bool(np.isinf(np.float32(value).astype(np.float16))) is above
    if above:
        assert checks(list(check_scan(tmp_path, scan, "F16"))) == [("overflow", True)]
        assert checks(list(check_scan(tmp_path, scan, "BF16"))) == [("overflow", False)]


def test_a_missing_shard(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    write_shards(folder, SHAPES, 3)
    assert inspect(folder).n_params
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(SourceError, match="model-00002-of-00003"):
        inspect(folder)


def test_a_model_that_was_saved_without_its_vision_is_told(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", vision_config={"hidden_size": 64})
    (found,) = check_senses(folder, inspect(folder))
    assert (found.check, type(found)) == ("projector", Remark)
    assert "its weights hold no such part" in found.message
    plain = write_model(tmp_path / "n")
    assert list(check_senses(plain, inspect(plain))) == []


def test_a_shard_of_an_earlier_save_is_told(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    write_shards(folder, SHAPES, 2)
    write_arrays(folder / "model-00003-of-00003.safetensors", {"x": np.ones(1)}, "F32")
    assert list(check_folder(folder)) == []
    (note,) = left_out_notes(choose_save(folder))
    assert note.startswith("model-00003-of-00003.safetensors of ")


@pytest.mark.parametrize(
    "packed",
    [
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "awq", "bits": 4},
    ],
)
def test_a_quantized_base_is_refused(tmp_path: Path, packed: dict[str, Any]) -> None:
    folder = write_model(tmp_path / "m", quantization_config=packed)
    with pytest.raises(SourceError, match=f"quantized already .{packed['quant_method']}.") as told:
        inspect(folder)
    assert "full-precision base" in told.value.hint


# ---------------------------------------------------------------- adapters


def on_base(adapter: Path) -> list[Finding]:
    return list(check_adapter(read_adapter(adapter), SHAPES))


def test_a_good_adapter(tmp_path: Path) -> None:
    adapter = read_adapter(write_adapter(tmp_path / "a", use_rslora=True))
    assert on_base(adapter.folder) == []
    assert list(source.check_trained(adapter)) == []
    assert (adapter.rank, adapter.kind, len(adapter.pairs)) == (4, "rsLoRA", 4)


def test_an_adapter_on_the_wrong_base(tmp_path: Path) -> None:
    (found,) = on_base(write_adapter(tmp_path / "a", width=128))
    assert (found.check, type(found)) == ("base", Failed)
    assert "[64, 64] there and [128, 128] in the adapter, and 3 more" in found.message
    assert "--base" in found.hint


def test_an_adapter_on_a_base_with_fewer_layers(tmp_path: Path) -> None:
    adapter = read_adapter(write_adapter(tmp_path / "a"))
    (found,) = check_adapter(adapter, llama_stored(layers=1))
    assert "it has no model.layers.1.self_attn.q_proj" in found.message


# As PEFT 0.21 saves them; each is an adapter of the very base that it is held against.


def test_a_trained_head_of_a_tied_base(tmp_path: Path) -> None:
    """The base stores no head: it is the embedding."""
    tied = {name: shape for name, shape in SHAPES.items() if name != "lm_head.weight"}
    folder = write_adapter(tmp_path / "a", target_modules=[*TARGETS, "lm_head"])
    rows, width = tied["model.embed_tokens.weight"]
    half = {"lm_head.lora_A.weight": (4, width), "lm_head.lora_B.weight": (rows, 4)}
    add_arrays(folder, half)
    assert list(check_adapter(read_adapter(folder), tied)) == []


def test_an_embedding_that_was_cut_to_its_tokens(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    rows, width = SHAPES["model.embed_tokens.weight"]
    add_arrays(folder, {"model.embed_tokens.modules_to_save.weight": (rows - 64, width)})
    assert on_base(folder) == []


def test_experts_that_are_parameters(tmp_path: Path) -> None:
    """A base may store each expert by itself and under another name."""
    experts = {"model.layers.0.block_sparse_moe.experts.0.w1.weight": (64, 64)}
    target: dict[str, Any] = {"target_parameters": ["mlp.experts.gate_up_proj"]}
    halves = {
        "model.layers.0.mlp.experts.base_layer.lora_A.weight": (8, 64),
        "model.layers.0.mlp.experts.base_layer.lora_B.weight": (64, 8),
    }
    folder = add_arrays(write_adapter(tmp_path / "a", **target), halves)
    assert list(check_adapter(read_adapter(folder), {**SHAPES, **experts})) == []
    own: dict[str, Any] = {"target_modules": [*TARGETS, "experts"], "rank_pattern": {"experts": 8}}
    other = add_arrays(write_adapter(tmp_path / "b", **own), halves)
    (found,) = check_adapter(read_adapter(other), {**SHAPES, **experts})
    assert "it has no model.layers.0.mlp.experts.base_layer" in found.message


def test_layers_that_were_repeated(tmp_path: Path) -> None:
    (found,) = on_base(write_adapter(tmp_path / "a", layer_replication=[[0, 1], [0, 2]]))
    assert (found.check, type(found)) == ("adapter", Failed)
    assert "layer_replication" in found.message
    assert "not trained on this base" not in found.message


def test_what_zero_3_left_empty(tmp_path: Path) -> None:
    folder = add_arrays(write_adapter(tmp_path / "a"), {"model.norm.lora_A.weight": (0,)})
    (found,) = on_base(folder)
    assert "1 of its tensors are empty" in found.message
    assert "stage3_gather_16bit_weights_on_model_save" in found.hint


Q, V = (f"model.layers.0.self_attn.{target}" for target in TARGETS)


@pytest.mark.parametrize(
    ("config", "more", "cause", "way_out"),
    [
        (
            {"target_modules": ["q_proj"]},
            {},
            f"4 tensors out (base_model.model.{V}.lora_A",
            "add 'v_proj' to",
        ),
        ({"target_modules": r".*\.layers\.0\..*"}, {}, "4 tensors out", "to target_modules"),
        ({}, {f"{Q}.lora_magnitude_vector": (64,)}, "1 tensor out", "set use_dora to true"),
        ({"use_dora": True}, {}, "holds no lora_magnitude_vector", "set use_dora to false"),
        ({"r": 8}, {}, "says rank 8", "set r to 4"),
        ({"lora_bias": True}, {f"{Q}.lora_B.bias": (64,)}, "no place to merge", "lora_bias=False"),
        ({}, {f"{Q}.b.lora_A.weight": (4, 64)}, "not cover them", "add 'b'"),
        ({"target_modules": None}, {"a.lora_B.weight": (64, 4)}, "lora_B of a alone", "save it"),
        ({}, {"score.weight": (2, 64)}, "with score.weight", "CAUSAL_LM"),
    ],
)
def test_a_tensor_that_peft_would_leave_out(
    tmp_path: Path,
    config: dict[str, Any],
    more: dict[str, tuple[int, ...]],
    cause: str,
    way_out: str,
) -> None:
    """None of it is the base's fault, and what is merged would be something else than trained."""
    (found, *_) = on_base(add_arrays(write_adapter(tmp_path / "a", **config), more))
    assert (found.check, type(found)) == ("adapter", Failed)
    assert cause in found.message
    assert way_out in found.hint


def test_names_without_pefts_prefix(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    halves = {f"{Q}.lora_A.weight": np.ones((4, 64)), f"{Q}.lora_B.weight": np.ones((64, 4))}
    write_arrays(folder / "adapter_model.safetensors", halves, "F32")
    (found,) = on_base(folder)
    assert "leave 2 tensors out" in found.message
    assert "lack PEFT's prefix base_model.model." in found.message
    assert "save_pretrained()" in found.hint


@pytest.mark.parametrize(
    ("config", "more"),
    [
        ({"target_modules": "all-linear"}, {}),
        ({"target_modules": r".*\.self_attn\.[qv]_proj"}, {}),
        ({"target_modules": None}, {}),
        ({"rank_pattern": {"v_proj": 4}, "r": 16}, {}),
        ({"lora_bias": True}, {f"{Q}.lora_B.bias": (64,)}),
        ({"use_dora": True}, {f"{Q}.lora_magnitude_vector": (64,)}),
        (
            {"trainable_token_indices": [7]},
            {"model.embed_tokens.token_adapter.trainable_tokens_delta": (1, 64)},
        ),
        ({"bias": "all"}, {f"{Q}.bias": (64,)}),
    ],
)
def test_tensors_that_all_have_a_place(
    tmp_path: Path, config: dict[str, Any], more: dict[str, tuple[int, ...]]
) -> None:
    folder = add_arrays(write_adapter(tmp_path / "a", **config), more)
    biased = {**SHAPES, f"{Q}.bias": (64,)}
    assert list(check_adapter(read_adapter(folder), biased)) == []


def test_names_that_versions_of_transformers_changed(tmp_path: Path) -> None:
    """The same modules, as the base was stored and as the adapter was trained."""
    adapter = read_adapter(write_adapter(tmp_path / "a"))
    for before in ("", "language_model.model.", "model.language_model.", "transformer."):
        base = {name.replace("model.", before, 1): shape for name, shape in SHAPES.items()}
        assert list(check_adapter(adapter, base)) == []


def test_an_adapter_on_another_commit_of_its_base(tmp_path: Path) -> None:
    """By the folder's name in the hub's cache; only of the very model that it names."""
    trained, other = "a" * 40, "b" * 40
    named: dict[str, Any] = {"base_model_name_or_path": "org/base", "revision": trained}
    adapter = read_adapter(write_adapter(tmp_path / "a", **named))
    cache = tmp_path / "hub" / "models--org--base" / "snapshots"
    (found,) = source.check_commit(adapter, cache / other)
    assert (found.check, type(found)) == ("base", Failed)
    assert found.hint == f"--base hf:org/base@{trained}"
    elsewhere = tmp_path / "hub" / "models--org--fork" / "snapshots" / other
    for base in (cache / trained, elsewhere, tmp_path / other):
        assert list(source.check_commit(adapter, base)) == []
    branch = read_adapter(write_adapter(tmp_path / "b", **{**named, "revision": "main"}))
    assert list(source.check_commit(branch, cache / other)) == []


def test_the_revision_of_a_4_bit_copy_is_none_of_its_models(tmp_path: Path) -> None:
    named: dict[str, Any] = {"base_model_name_or_path": "unsloth/x-bnb-4bit", "revision": "a" * 40}
    adapter = read_adapter(write_adapter(tmp_path / "a", **named))
    assert (adapter.base, adapter.revision) == ("unsloth/x", "")


def test_an_adapter_that_was_never_trained(tmp_path: Path) -> None:
    adapter = read_adapter(write_adapter(tmp_path / "a", zero=True))
    (found,) = source.check_trained(adapter)
    assert (found.check, type(found)) == ("adapter", Failed)
    assert "B is zero in all 4 modules" in found.message


def test_an_adapter_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="type IA3"):
        read_adapter(write_adapter(tmp_path / "a", peft_type="IA3"))


def test_an_adapter_in_a_file_that_is_no_pickle_of_weights(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(SourceError, match=r"adapter_model\.bin: is no file of PyTorch 1\.6"):
        read_adapter(folder)


@pytest.mark.parametrize(
    ("named", "full"),
    [
        ("unsloth/Llama-3.2-1B-Instruct-unsloth-bnb-4bit", "unsloth/Llama-3.2-1B-Instruct"),
        ("unsloth/llama-3-8b-bnb-4bit", "unsloth/llama-3-8b"),
        ("org/model-GPTQ", "org/model"),
        ("org/model-AWQ-int4", "org/model"),
        ("org/model-4bit", "org/model"),
        ("org/model-14B", "org/model-14B"),
    ],
)
def test_the_full_precision_base_of_a_quantized_one(named: str, full: str) -> None:
    assert full_precision_name(named) == full
