"""Predicted memory, held against llama-fit-params."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployq.errors import ConfigError
from deployq.plan.memory import (
    MemoryModel,
    cache_problem,
    parse_cache_type,
    predict,
    upper_bound_reason,
)
from deployq.plan.quants import own_size
from deployq.source.inspect import inspect
from deployq.types import Serving
from tests.plan.conftest import MODELS, Oracle
from tests.plan.models import ModelShape, deci, deepseek2, keys, mixtral, qwen3
from tests.source.gguf_files import Value, llama_tensors, write_llama, write_sparse

MIB = 1 << 20
SMALL = Serving(num_batch=512)
"""As the tools were asked, whatever the context."""


@pytest.mark.parametrize("model", MODELS)
def test_the_oracle_s_memory(oracle: Callable[[str], Oracle], model: str) -> None:
    known = oracle(model)
    assert known.memory
    for said in known.memory:
        size = own_size(known.info, said["quant"])
        found = predict(known.info, size, said["n_ctx"], said["cache_type"], SMALL)
        weights = known.sizes[said["quant"]]["tensor_bytes"] / MIB
        others = said["output_mib"] + said["compute_server_mib"]
        assert found.kv_cache_bytes / MIB == pytest.approx(said["kv_exact_mib"], abs=0.006)
        assert found.compute_bytes / MIB == pytest.approx(others, abs=0.12)
        total = weights + said["kv_exact_mib"] + others
        assert found.total_bytes / MIB == pytest.approx(total, rel=0.001)


def kv_mib(tmp_path: Path, shape: ModelShape, n_ctx: int, cache_type: str = "f16") -> float:
    info = inspect(write_sparse(tmp_path / "m.gguf", shape.architecture, shape.keys, shape.tensors))
    return predict(info, own_size(info, "F16"), n_ctx, cache_type, SMALL).kv_cache_bytes / MIB


def test_figures_per_layer_count_each(tmp_path: Path) -> None:
    """16 layers with 8 key heads and 16 with 4, of 128, keys and values, two bytes."""
    assert kv_mib(tmp_path, deci(), 4096) == 4096 * (16 * 8 + 16 * 4) * 128 * 2 * 2 / MIB


def test_layers_without_attention_keep_nothing(tmp_path: Path) -> None:
    shape = ModelShape("deci", keys(4, 512, 512, 4, [4, 0, 0, 4]), llama_tensors(4, 512, 512, 512))
    assert kv_mib(tmp_path, shape, 1024) == 1024 * 2 * 512 * 2 * 2 / MIB


def test_latent_attention_keeps_keys_only(tmp_path: Path) -> None:
    assert kv_mib(tmp_path, deepseek2(), 4096) == 27 * 4096 * 576 * 2 / MIB


def test_a_window_pattern_of_the_header_s_own(tmp_path: Path) -> None:
    more: dict[str, Value] = {
        "attention__sliding_window": 256,
        "attention__sliding_window_pattern": [True, False],
    }
    shape = ModelShape("gemma4", keys(2, 512, 512, 4, 4, **more), llama_tensors(2, 512, 512, 512))
    assert kv_mib(tmp_path, shape, 8192) == (768 + 8192) * 512 * 2 * 2 / MIB


def test_window_layers_have_head_sizes_of_their_own(tmp_path: Path) -> None:
    more: dict[str, Value] = {
        "attention__sliding_window": 256,
        "attention__sliding_window_pattern": [True, False],
        "attention__key_length": 512,
        "attention__value_length": 512,
        "attention__key_length_swa": 128,
        "attention__value_length_swa": 128,
    }
    shape = ModelShape("gemma4", keys(2, 512, 512, 4, 1, **more), llama_tensors(2, 512, 512, 512))
    assert kv_mib(tmp_path, shape, 8192) == (768 * 128 + 8192 * 512) * 2 * 2 / MIB


def test_a_context_is_padded_to_256_cells(tmp_path: Path) -> None:
    assert kv_mib(tmp_path, mixtral(), 4000) == kv_mib(tmp_path, mixtral(), 4096)
    assert kv_mib(tmp_path, mixtral(), 4097) > kv_mib(tmp_path, mixtral(), 4096)


@pytest.mark.parametrize(
    ("cache_type", "share"), [("q8_0", 34 / 64), ("q4_0", 18 / 64), ("q8_0/f16", 0.5 + 17 / 64)]
)
def test_cache_types(tmp_path: Path, cache_type: str, share: float) -> None:
    whole = kv_mib(tmp_path, mixtral(), 4096)
    assert kv_mib(tmp_path, mixtral(), 4096, cache_type) == whole * share


def test_an_unknown_architecture_is_an_upper_bound_and_says_so(tmp_path: Path) -> None:
    """Every layer keeps everything, whatever windows the header names."""
    more: dict[str, Value] = {
        "attention__sliding_window": 256,
        "attention__sliding_window_pattern": [True, True],
    }
    shape = ModelShape("brandnew", keys(2, 512, 512, 4, 4, **more), llama_tensors(2, 512, 512, 512))
    info = inspect(write_sparse(tmp_path / "m.gguf", "brandnew", shape.keys, shape.tensors))
    assert "'brandnew' is not known" in upper_bound_reason(info)
    assert kv_mib(tmp_path, shape, 8192) == 8192 * 2 * 512 * 2 * 2 / MIB
    assert not upper_bound_reason(inspect(write_llama(tmp_path / "llama.gguf")))


def test_an_upper_bound_has_states_and_indexes_too(tmp_path: Path) -> None:
    more: dict[str, Value] = {
        "ssm__inner_size": 512, "ssm__state_size": 16, "ssm__conv_kernel": 4,
        "attention__indexer__key_length": 64,
    }  # fmt: skip
    tensors = llama_tensors(2, 512, 512, 512)
    plain = ModelShape("brandnew", keys(2, 512, 512, 4, 4), tensors)
    shape = ModelShape("brandnew", keys(2, 512, 512, 4, 4, **more), tensors)
    extra = 2 * (4 * (3 * 512 + 512 * 16) + 8192 * 4 * 64 * 2)
    assert kv_mib(tmp_path, shape, 8192) == kv_mib(tmp_path, plain, 8192) + extra / MIB


def test_what_keeps_nothing_says_so(tmp_path: Path) -> None:
    shape = ModelShape("bert", keys(2, 512, 512, 4, 4), llama_tensors(2, 512, 512, 512))
    info = inspect(write_sparse(tmp_path / "m.gguf", "bert", shape.keys, shape.tensors))
    assert kv_mib(tmp_path, shape, 8192) == 0
    assert "keeps nothing" in upper_bound_reason(info)


def test_each_sequence_has_a_cache_of_its_own(tmp_path: Path) -> None:
    shape = qwen3()
    info = inspect(write_sparse(tmp_path / "m.gguf", "qwen3", shape.keys, shape.tensors))
    size = own_size(info, "F16")
    one = predict(info, size, 4096)
    four = predict(info, size, 4096, serving=Serving(parallel=4, num_batch=512))
    assert four.kv_cache_bytes == 4 * one.kv_cache_bytes
    vocabulary = info.array_lengths["tokenizer.ggml.tokens"]
    assert four.compute_bytes == one.compute_bytes + 3 * 4 * vocabulary


def test_logits_of_a_whole_batch_can_be_the_widest_moment(oracle: Callable[[str], Oracle]) -> None:
    """llama-fit-params reserves 512 outputs, a server one."""
    for said in (known := oracle("llama-3.2-1b")).memory:
        size = own_size(known.info, said["quant"])
        model = MemoryModel(known.info)
        found = model.predict(size, said["n_ctx"], said["cache_type"], SMALL, n_outputs=512)
        expected = said["output_mib"] + said["compute_exact_mib"]
        assert found.compute_bytes / MIB == pytest.approx(expected, rel=0.02)


def test_prediction_layers_are_not_kept(tmp_path: Path) -> None:
    """The last of the blocks of a model that predicts further tokens (MTP)."""
    plain = ModelShape("glm4moe", keys(3, 512, 512, 4, 4), llama_tensors(3, 512, 512, 512))
    more: dict[str, Value] = {"nextn_predict_layers": 1}
    nextn = ModelShape("glm4moe", keys(3, 512, 512, 4, 4, **more), plain.tensors)
    assert kv_mib(tmp_path, nextn, 4096) == kv_mib(tmp_path, plain, 4096) * 2 / 3


@pytest.mark.parametrize(
    ("shape", "cache_type", "problem"),
    [
        (deepseek2(), "q8_0/f16", "one cache for keys and values"),
        (deepseek2(), "q8_0", ""),
        (qwen3(), "q8_0/q4_0", ""),
        (ModelShape("phi2", keys(2, 320, 512, 4, 4), llama_tensors(2, 320, 320)), "q8_0", "of 80"),
    ],
)
def test_cache_types_that_llama_cpp_refuses(
    tmp_path: Path, shape: ModelShape, cache_type: str, problem: str
) -> None:
    file = write_sparse(tmp_path / "m.gguf", shape.architecture, shape.keys, shape.tensors)
    found = cache_problem(inspect(file), cache_type)
    assert problem in found
    assert bool(problem) == bool(found)


def test_a_projector_beside_the_model_is_counted(tmp_path: Path) -> None:
    file = write_llama(tmp_path / "tiny.gguf")
    without = predict(info := inspect(file), own_size(info, "F16"), 512)
    tensors = {"v.patch_embd.weight": (64, 1000)}
    write_sparse(tmp_path / "tiny-mmproj-f16.gguf", "clip", {"vision.block_count": 1}, tensors)
    together = predict(info := inspect(file), own_size(info, "F16"), 512)
    assert together.weights_bytes - without.weights_bytes == 64 * 1000 * 2
    assert "projector" in info.warnings[0]


def test_recurrent_state_counts(tmp_path: Path) -> None:
    """Mamba-130M: 24 layers, inner size 1536, state 16, convolution over 4."""
    more = {"ssm__inner_size": 1536, "ssm__state_size": 16, "ssm__conv_kernel": 4}
    shape = ModelShape("mamba", keys(24, 768, 0, 0, 0, **more), llama_tensors(24, 768, 1, 1))
    assert kv_mib(tmp_path, shape, 4096) == 24 * (3 * 1536 + 1536 * 16) * 4 / MIB


@pytest.mark.parametrize("text", ["", "q3_k", "f16/", "f16/f16/f16", "Q8"])
def test_unknown_cache_types_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no KV cache type") as caught:
        parse_cache_type(text)
    assert "q8_0/f16" in caught.value.hint


def test_cache_types_in_any_case() -> None:
    assert parse_cache_type("Q8_0/f16") == ("Q8_0", "F16")
    assert parse_cache_type("q4_0") == ("Q4_0", "Q4_0")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n_ctx=st.integers(1, 1 << 20), more=st.integers(0, 1 << 20))
def test_memory_never_shrinks_with_the_context(
    oracle: Callable[[str], Oracle], n_ctx: int, more: int
) -> None:
    info = oracle("smollm2-135m").info
    size = own_size(info, "F16")
    small, large = predict(info, size, n_ctx), predict(info, size, n_ctx + more)
    assert small.total_bytes <= large.total_bytes


def test_absurd_figures_cost_no_time(tmp_path: Path) -> None:
    info = inspect(write_llama(tmp_path / "a.gguf", block_count=1024))
    found = predict(info, own_size(info, "F16"), 1 << 31)
    assert found.total_bytes > 0
