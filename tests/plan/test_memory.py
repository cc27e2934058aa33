"""Predicted memory, held against llama-fit-params."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployq import proc
from deployq.errors import ConfigError
from deployq.plan.memory import MEASURED, parse_cache_type, predict, upper_bound_reason
from deployq.plan.quants import own_size
from deployq.source.inspect import inspect
from tests.plan.conftest import MODELS, Oracle
from tests.plan.models import SHAPES, ModelShape, deci, deepseek2, falcon, keys, mixtral
from tests.source.gguf_files import Value, llama_tensors, write_llama, write_sparse

MIB = 1 << 20
# One or more of every architecture whose prediction is not called a bound.
LOADABLE = [name for name, shape in SHAPES.items() if shape.architecture in MEASURED - {"qwen2"}]


@pytest.mark.parametrize("model", MODELS)
def test_the_oracle_s_memory(oracle: Callable[[str], Oracle], model: str) -> None:
    known = oracle(model)
    assert known.memory
    for said in known.memory:
        size = own_size(known.info, said["quant"])
        found = predict(known.info, size, said["n_ctx"], said["cache_type"])
        weights = known.sizes[said["quant"]]["tensor_bytes"] / MIB
        others = said["output_mib"] + said["compute_server_mib"]
        assert found.kv_cache_bytes / MIB == pytest.approx(said["kv_exact_mib"], abs=0.006)
        assert found.compute_bytes / MIB == pytest.approx(others, abs=0.12)
        total = weights + said["kv_exact_mib"] + others
        assert found.total_bytes / MIB == pytest.approx(total, rel=0.001)


def test_every_architecture_that_counts_as_measured_is_measured_here() -> None:
    in_oracle = {"llama", "qwen2"}
    assert {SHAPES[name].architecture for name in LOADABLE} | in_oracle == MEASURED


@pytest.mark.tools
@pytest.mark.parametrize("n_ctx", [4096, 16384])
@pytest.mark.parametrize("name", LOADABLE)
def test_other_architectures(tmp_path: Path, tools_bin: Path, name: str, n_ctx: int) -> None:
    shape = SHAPES[name]
    info = inspect(write_sparse(tmp_path / "m.gguf", shape.architecture, shape.keys, shape.tensors))
    options = "-np 1 --no-repack -ctk f16 -ctv f16 -fa on -fitp on -fit off -ngl 99"
    tool = tools_bin / "llama-fit-params"
    said = proc.run([tool, "-m", info.path, "-c", str(n_ctx), *options.split()]).stdout
    row = re.search(r"^Host (\d+) (\d+) (\d+)", said, re.MULTILINE)
    assert row, said
    found = predict(info, own_size(info, "F16"), n_ctx)
    ours = (found.weights_bytes, found.kv_cache_bytes, found.compute_bytes)
    for own, printed in zip(ours, row.groups(), strict=True):
        assert -0.1 < own / MIB - int(printed) < 1.1  # the tool prints whole MiB, cut off


def kv_mib(tmp_path: Path, shape: ModelShape, n_ctx: int, cache_type: str = "f16") -> float:
    info = inspect(write_sparse(tmp_path / "m.gguf", shape.architecture, shape.keys, shape.tensors))
    return predict(info, own_size(info, "F16"), n_ctx, cache_type).kv_cache_bytes / MIB


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
    shape = ModelShape("new", keys(2, 512, 512, 4, 4, **more), llama_tensors(2, 512, 512, 512))
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
    shape = ModelShape("new", keys(2, 512, 512, 4, 1, **more), llama_tensors(2, 512, 512, 512))
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


def test_unmeasured_architectures_say_so(tmp_path: Path) -> None:
    shape = falcon()
    info = inspect(write_sparse(tmp_path / "m.gguf", "falcon", shape.keys, shape.tensors))
    assert "'falcon'" in upper_bound_reason(info)
    assert not upper_bound_reason(inspect(write_llama(tmp_path / "llama.gguf")))


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
    info = inspect(write_llama(tmp_path / "a.gguf", block_count=(1 << 32) - 1))
    found = predict(info, own_size(info, "F16"), 1 << 31)
    assert found.total_bytes > 0
