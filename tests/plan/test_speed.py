"""Bytes that a token reads, and the tokens/s that follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from deployq.plan.guide import SHAPES, model_of
from deployq.plan.memory import predict
from deployq.plan.quants import own_size, tensor_types
from deployq.plan.speed import SHARES, bytes_per_token, estimator
from deployq.types import Bandwidth, BandwidthSource, ModelInfo, Speed, Target, TensorInfo
from tests.plan.conftest import Oracle

GB, GIB = 10**9, 1 << 30


def speed(
    info: ModelInfo, quant: str, bandwidth: Bandwidth | None, n_ctx: int = 256
) -> Speed | None:
    size = own_size(info, quant)
    target = Target("t", "vram", 80 * GIB, GIB, n_ctx, bandwidth=bandwidth)
    return estimator(info)(target, size, predict(info, size, n_ctx))


def likely(info: ModelInfo, quant: str, how: BandwidthSource = "model", n_ctx: int = 256) -> float:
    found = speed(info, quant, Bandwidth(100 * GB, how), n_ctx)
    assert found is not None
    return found.likely


def test_all_weights_but_the_embedding(oracle: Callable[[str], Oracle]) -> None:
    """Llama-2-7B has an output of its own: of the embedding one row of 4096 is read."""
    info = oracle("llama-2-7b").info
    types, _ = tensor_types(info, "F16")
    embedding = 4096 * 32000 * 2
    weights = own_size(info, "F16").file_bytes - info.header_bytes
    assert bytes_per_token(info, types) == weights - embedding + 4096 * 2


def test_a_tied_embedding_is_the_output_and_read_whole(oracle: Callable[[str], Oracle]) -> None:
    info = oracle("smollm2-135m").info
    types, _ = tensor_types(info, "Q8_0")
    weights = own_size(info, "Q8_0").file_bytes - info.header_bytes
    assert weights * 0.99 < bytes_per_token(info, types) <= weights


def test_of_experts_only_those_that_are_used() -> None:
    experts = TensorInfo("blk.0.ffn_up_exps.weight", (64, 32, 8), "F16")
    shared = TensorInfo("blk.0.ffn_up_shexp.weight", (64, 32), "F16")
    dense = model_of(SHAPES["7B"])
    info = replace(
        dense,
        tensors=(experts, shared, TensorInfo("output.weight", (64, 10), "F16")),
        metadata={"llama.expert_count": 8, "llama.expert_used_count": 2},
    )
    one = 64 * 32 * 2
    assert bytes_per_token(info, ["F16"] * 3) == 2 * one + one + 64 * 10 * 2


def test_tokens_are_bandwidth_over_bytes() -> None:
    """A 7B model in Q4_0 reads 3.75 GB per token: 100 GB/s make about 26 tokens/s."""
    assert likely(model_of(SHAPES["7B"]), "Q4_0") == pytest.approx(26.2, rel=0.03)


@pytest.mark.parametrize(
    ("quant", "gb_per_second", "reported"),
    [("F16", 800, 41.4), ("Q8_0", 800, 61.5), ("Q6_K", 800, 67.4), ("Q4_0", 102.4, 18.3)],
)
def test_what_people_reported_lies_in_the_range(
    quant: str, gb_per_second: float, reported: float
) -> None:
    """M2 Ultra (llama.cpp pull request 2891) and a PC with DDR5-6400 (issue 34), a 7B Llama."""
    found = speed(model_of(SHAPES["7B"]), quant, Bandwidth(gb_per_second * GB, "stated"))
    assert found is not None
    assert found.low < reported < found.high


def test_smaller_quants_and_shorter_contexts_are_faster() -> None:
    info = model_of(SHAPES["13B"])
    assert likely(info, "Q4_K_M") > likely(info, "Q8_0") > likely(info, "F16")
    assert likely(info, "Q4_K_M", n_ctx=512) > likely(info, "Q4_K_M", n_ctx=4096)


def test_half_of_the_cache_is_read_at_mid_context() -> None:
    info = model_of(SHAPES["7B"])
    types, _ = tensor_types(info, "Q8_0")
    cache = predict(info, own_size(info, "Q8_0"), 4096).kv_cache_bytes
    expected = 100 * GB / (bytes_per_token(info, types) + cache / 2)
    assert likely(info, "Q8_0", n_ctx=4096) == pytest.approx(expected)


def test_no_bandwidth_no_estimate() -> None:
    assert speed(model_of(SHAPES["7B"]), "Q8_0", None) is None


def test_a_range_is_a_range_and_a_model_narrows_it_more_than_reading() -> None:
    for low, middle, high in SHARES.values():
        assert low < middle < high
    width = {how: high / low for how, (low, _, high) in SHARES.items()}
    assert width["model"] < width["read"]
