"""Hugging Face folders: what their GGUF would be, held against llama.cpp's converter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from deployq.errors import SourceError
from deployq.plan.memory import predict
from deployq.plan.offload import skipped_bytes
from deployq.plan.quants import own_size
from deployq.source.hf_classes import ARCHITECTURES
from deployq.source.inspect import inspect, require_full_precision
from tests.plan.conftest import ORACLE
from tests.source.gguf_files import llama_keys, llama_tensors, write_sparse
from tests.source.hf_files import (
    LLAMA_CONFIG,
    llama_stored,
    write_folder,
    write_safetensors,
    write_shards,
)

CONVERTED = Path(__file__).resolve().parent.parent / "data" / "converted"
CASES = sorted(path.stem for path in CONVERTED.glob("*.json"))
# Numbers that memory and sizes don't depend on.
UNREAD = (
    "rope.", "expert_gating_func", "expert_group", "expert_shared_feed_forward_length",
    "mamba.context_length", "mamba.attention.head_count", "granitehybrid.context_length",
    "mimo2.attention.head_count_kv", "qwen35.attention.head_count_kv",
    "qwen3next.attention.head_count_kv", "sliding_window_pattern",
)  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_tensors_are_those_that_the_converter_makes(tmp_path: Path, name: str) -> None:
    said = json.loads((CONVERTED / f"{name}.json").read_text())
    stored = {key: tuple(shape) for key, shape in said["stored"]}
    info = inspect(write_folder(tmp_path / name, said["config"], stored, "F16"))
    found = sorted((t.name, _without_ones(t.shape), t.type) for t in info.tensors)
    assert found == [(n, _without_ones(shape), kind) for n, shape, kind in said["tensors"]]
    assert not info.warnings
    for key, value in said["keys"].items():
        if value and not isinstance(value, bool) and not any(part in key for part in UNREAD):
            own = info.arrays.get(key) or info.metadata.get(key)
            assert (list(own) if isinstance(own, tuple) else own) == value, key


def _without_ones(shape: Sequence[int]) -> list[int]:
    """Extents of one take no bytes."""
    return [extent for extent in shape if extent != 1]


def test_sizes_and_memory_of_llama_3_8b_from_its_shapes(tmp_path: Path) -> None:
    """Tensors exact to the byte; the header is an estimate, and is called one."""
    said = json.loads((ORACLE / "llama-3-8b.json").read_text())
    config = LLAMA_CONFIG | {
        "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
        "num_key_value_heads": 8, "num_hidden_layers": 32, "vocab_size": 128256,
        "max_position_embeddings": 8192,
    }  # fmt: skip
    stored = llama_stored(32, 4096, 1024, 14336)
    stored |= dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), (128256, 4096))
    info = inspect(write_folder(tmp_path / "m", config, stored))
    assert info.estimate
    assert info.n_params == said["hparams"]["n_params"]
    for quant, true in said["sizes"].items():
        size = own_size(info, quant)
        assert size.file_bytes - info.header_bytes == true["data_bytes"], quant
        assert size.estimate
    row = next(m for m in said["memory"] if m["quant"] == "F16" and m["n_ctx"] == 8192)
    found = predict(info, own_size(info, "F16"), 8192, row["cache_type"])
    assert found.kv_cache_bytes / 2**20 == pytest.approx(row["kv_exact_mib"], abs=0.006)


def test_shards(tmp_path: Path) -> None:
    write_shards(tmp_path, llama_stored())
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_CONFIG))
    info = inspect(tmp_path)
    assert len(info.tensors) == len(llama_stored())
    assert [file.name for file in info.files] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]


@pytest.mark.parametrize(
    ("change", "key", "said", "true"),
    [
        ({"num_hidden_layers": 3}, "block_count", 3, 2),
        ({"hidden_size": 128}, "embedding_length", 128, 64),
        ({"intermediate_size": 100}, "feed_forward_length", 100, 128),
        ({"num_key_value_heads": 4}, "attention.head_count_kv", 4, 2),
        ({"vocab_size": 32000}, "vocab_size", 32000, 256),
    ],
)
def test_where_config_and_tensors_disagree_the_tensors_count(
    tmp_path: Path, change: dict[str, Any], key: str, said: int, true: int
) -> None:
    config = LLAMA_CONFIG | {"head_dim": 16} | change
    info = inspect(write_folder(tmp_path / "m", config, llama_stored()))
    assert info.metadata[f"llama.{key}"] == true
    (warning,) = info.warnings
    assert f"says {key} {said}, the tensors have {true}" in warning


@pytest.mark.parametrize(("saved", "nextn"), [(2, 0), (3, 1)])
def test_prediction_layers_count_where_they_were_saved(
    tmp_path: Path, saved: int, nextn: int
) -> None:
    """config.json counts them apart from the others, a GGUF among its blocks."""
    more = {"num_nextn_predict_layers": 1, "head_dim": 16, "architectures": ["Glm4ForCausalLM"]}
    info = inspect(write_folder(tmp_path / "m", LLAMA_CONFIG | more, llama_stored(saved)))
    assert info.metadata["glm4.block_count"] == saved
    assert info.metadata.get("glm4.nextn_predict_layers", 0) == nextn


def test_prediction_layers_that_the_converter_leaves_out(tmp_path: Path) -> None:
    more = {"num_nextn_predict_layers": 1, "head_dim": 16}
    info = inspect(write_folder(tmp_path / "m", LLAMA_CONFIG | more, llama_stored(3)))
    assert info.metadata["llama.block_count"] == 2
    assert not [t.name for t in info.tensors if t.name.startswith("blk.2.")]
    assert not info.warnings


def test_layers_for_prediction_are_in_the_file_and_not_in_memory(tmp_path: Path) -> None:
    """A Qwen3.5 folder: its `mtp.*` become a layer, which llama.cpp doesn't load."""
    said = json.loads((CONVERTED / "qwen35-mtp.json").read_text())
    stored = {key: tuple(shape) for key, shape in said["stored"]}
    info = inspect(write_folder(tmp_path / "m", said["config"], stored, "F16"))
    types = [tensor.type for tensor in info.tensors]
    layer = sum(
        t.n_elements * (4 if t.type == "F32" else 2) for t in info.tensors if "blk.2." in t.name
    )
    assert skipped_bytes(info, types) == layer > 0


def test_gpt_oss_in_mxfp4_is_a_full_source(tmp_path: Path) -> None:
    said = json.loads((CONVERTED / "gpt-oss-mxfp4.json").read_text())
    stored = {key: tuple(shape) for key, shape in said["stored"]}
    info = inspect(write_folder(tmp_path / "m", said["config"], stored))
    assert info.dtype == "MXFP4"
    require_full_precision(info, allow_requantize=False)


def test_names_that_nobody_knows_are_named(tmp_path: Path) -> None:
    stored = llama_stored() | {"model.layers.0.strange.weight": (8, 8)}
    (warning,) = inspect(write_folder(tmp_path / "m", LLAMA_CONFIG, stored)).warnings
    assert "1 tensors are not counted" in warning
    assert "model.layers.0.strange.weight" in warning


@pytest.mark.parametrize(
    ("whole", "inner", "architecture"),
    [
        ("Idefics3ForConditionalGeneration", "VLlama3ForCausalLM", "llama"),
        ("InternVLChatModel", "Qwen2ForCausalLM", "qwen2"),
        ("Exaone4_5_ForConditionalGeneration", "Exaone4ForCausalLM", "exaone4"),
    ],
)
@pytest.mark.parametrize("key", ["text_config", "llm_config"])
def test_the_text_part_decides_what_a_model_becomes(
    tmp_path: Path, whole: str, inner: str, architecture: str, key: str
) -> None:
    """As llama.cpp's converter has it: the names of its parts differ from model to model."""
    stored = {f"model.text_model.{n.removeprefix('model.')}": s for n, s in llama_stored().items()
              if n != "lm_head.weight"}  # fmt: skip
    stored |= {"mlp1.0.weight": (64, 64), "model.connector.modality_projection.proj.weight": (4, 4)}
    config = {"architectures": [whole], key: LLAMA_CONFIG | {"architectures": [inner]}}
    info = inspect(write_folder(tmp_path / "m", config, stored))
    assert info.architecture == architecture
    assert info.projector_bytes == (64 * 64 + 4 * 4) * 2


def test_vision_is_counted_as_a_projector(tmp_path: Path) -> None:
    text = {f"model.language_model.{n.removeprefix('model.')}": s for n, s in llama_stored().items()
            if n != "lm_head.weight"}  # fmt: skip
    stored = text | {"lm_head.weight": (256, 64), "model.vision_tower.x.weight": (100, 50)}
    inner = {key: value for key, value in LLAMA_CONFIG.items() if key != "architectures"}
    config = {"architectures": ["Mistral3ForConditionalGeneration"], "text_config": inner}
    info = inspect(write_folder(tmp_path / "m", config, stored))
    assert info.architecture == "mistral3"
    assert info.projector_bytes == 100 * 50 * 2
    assert len(info.tensors) == len(llama_stored())


def test_experts_that_are_stacked_already(tmp_path: Path) -> None:
    """Llama 4: gate and up joined, and turned."""
    stored = {n: s for n, s in llama_stored(1).items() if ".mlp." not in n}
    prefix = "model.layers.0.feed_forward"
    stored |= {
        f"{prefix}.experts.gate_up_proj": (4, 64, 256),
        f"{prefix}.experts.down_proj": (4, 128, 64),
        f"{prefix}.router.weight": (4, 64),
    }
    config = LLAMA_CONFIG | {"architectures": ["Llama4ForCausalLM"], "num_hidden_layers": 1}
    info = inspect(write_folder(tmp_path / "m", config, stored))
    shapes = {t.name: t.shape for t in info.tensors}
    assert shapes["blk.0.ffn_gate_exps.weight"] == (64, 128, 4)
    assert shapes["blk.0.ffn_up_exps.weight"] == (64, 128, 4)
    assert shapes["blk.0.ffn_down_exps.weight"] == (128, 64, 4)


def test_the_tokenizer_s_words(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", LLAMA_CONFIG, llama_stored())
    words = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": "{{ x }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(words))
    info = inspect(folder)
    assert (info.bos_token, info.eos_token, info.chat_template) == ("<s>", "</s>", "{{ x }}")
    small = info.header_bytes
    (folder / "tokenizer.json").write_bytes(bytes(1_000_000))
    assert 800_000 < inspect(folder).header_bytes - small < 1_000_000


@pytest.mark.parametrize(
    ("config", "cause"),
    [
        ("{", "is no JSON"),
        ("[]", "holds a list of 0, not a JSON object"),
        ('{"architectures": []}', "names no architecture"),
        ('{"architectures": ["NobodyForCausalLM"]}', "NobodyForCausalLM is not known"),
    ],
)
def test_a_config_that_is_none(tmp_path: Path, config: str, cause: str) -> None:
    folder = write_folder(tmp_path / "m", LLAMA_CONFIG, llama_stored())
    (folder / "config.json").write_text(config)
    with pytest.raises(SourceError, match=cause):
        inspect(folder)


@pytest.mark.parametrize(("method", "refused"), [("gptq", True), ("mxfp4", True), ("fp8", False)])
def test_packed_weights_are_no_source(tmp_path: Path, method: str, refused: bool) -> None:
    config = LLAMA_CONFIG | {"quantization_config": {"quant_method": method}}
    folder = write_folder(tmp_path / "m", config, llama_stored())
    if not refused:
        assert inspect(folder).format == "huggingface"
        return
    with pytest.raises(SourceError, match=f"quantized already .{method}."):
        inspect(folder)


def test_an_adapter_alone_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    write_safetensors(tmp_path / "adapter_model.safetensors", {"a.lora_A.weight": (4, 64)})
    with pytest.raises(SourceError, match="is a LoRA adapter") as caught:
        inspect(tmp_path)
    assert "--base" in caught.value.hint


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
def test_the_precision_of_the_weights_is_kept(tmp_path: Path, dtype: str) -> None:
    info = inspect(write_folder(tmp_path / "m", LLAMA_CONFIG, llama_stored(), dtype))
    assert info.dtype == dtype
    assert {t.type for t in info.tensors if len(t.shape) > 1} == {dtype}


def test_the_gguf_in_a_folder_goes_first(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", LLAMA_CONFIG, llama_stored())
    write_sparse(folder / "a.gguf", "llama", llama_keys(), llama_tensors())
    assert inspect(folder).format == "gguf"


def test_classes_are_told_apart() -> None:
    assert ARCHITECTURES["LlamaForCausalLM"] == "llama"
    assert ARCHITECTURES["Qwen2_5_VLForConditionalGeneration"] == "qwen2vl"
    assert ARCHITECTURES["GPT2LMHeadModel"] == "gpt2"
