"""The largest context is the largest: it fits, and the next step doesn't."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.plan.memory import predict
from deployq.plan.quants import own_size
from deployq.plan.room import CONTEXT_STEP, growth, header_memory, largest_context
from deployq.types import Memory, ModelInfo, QuantSize, Target
from tests.plan.conftest import MODELS, Oracle

GIB = 1 << 30
RAM = Target("box", "ram", 64 * GIB, 0, 4096)


@pytest.fixture(scope="module")
def llama(oracle: Callable[[str], Oracle]) -> ModelInfo:
    return oracle("llama-3-8b").info


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("cache_type", ["f16", "q8_0", "q8_0/f16"])
def test_memory_asked_once_is_the_memory_of_every_quant(
    oracle: Callable[[str], Oracle], model: str, cache_type: str
) -> None:
    info = oracle(model).info
    memory_of = header_memory(info)(RAM)
    for quant in ("F16", "Q8_0", "Q2_K"):
        size = own_size(info, quant)
        for n_ctx in (1, 4096, 8192):
            assert memory_of(size, n_ctx, cache_type) == predict(info, size, n_ctx, cache_type)


@settings(max_examples=100, deadline=None)
@given(
    fixed=st.integers(0, 1 << 33),
    per_token=st.integers(1, 1 << 20),
    window=st.integers(1, 1 << 16),
    per_window_token=st.integers(0, 1 << 20),
    budget=st.integers(0, 1 << 38),
    limit=st.integers(1, 1 << 18),
)
def test_the_largest_context_fits_and_the_next_does_not(
    fixed: int, per_token: int, window: int, per_window_token: int, budget: int, limit: int
) -> None:
    def memory_of(size: QuantSize, n_ctx: int, cache_type: str) -> Memory:
        padded = -(-n_ctx // CONTEXT_STEP) * CONTEXT_STEP
        kept = padded * per_token + min(padded, window) * per_window_token
        return Memory(size.file_bytes, kept, len(cache_type))

    size = QuantSize("Q", fixed, 4.0)
    found = largest_context(memory_of, size, "f16", budget, limit)
    assert 0 <= found <= limit
    if found:
        assert memory_of(size, found, "f16").total_bytes <= budget
    if found < limit:
        assert memory_of(size, found + 1, "f16").total_bytes > budget


@pytest.mark.parametrize("gib", [4.8, 5.0, 5.3, 5.7, 6.0])
def test_of_a_real_model(llama: ModelInfo, gib: float) -> None:
    memory_of, size = header_memory(llama)(RAM), own_size(llama, "Q4_K_M")
    budget = int(gib * GIB)
    found = largest_context(memory_of, size, "f16", budget, 131072)
    assert found % CONTEXT_STEP == 0
    assert predict(llama, size, found).total_bytes <= budget
    assert predict(llama, size, found + CONTEXT_STEP).total_bytes > budget


def test_a_smaller_cache_type_gives_a_larger_context(llama: ModelInfo) -> None:
    memory_of, size = header_memory(llama)(RAM), own_size(llama, "Q4_K_M")
    contexts = [
        largest_context(memory_of, size, kind, 6 * GIB, 1 << 20) for kind in ("f16", "q8_0", "q4_0")
    ]
    assert contexts == sorted(contexts)
    assert contexts[0] < contexts[1] < contexts[2]


def test_an_absurd_limit_is_not_searched_through() -> None:
    def memory_of(size: QuantSize, n_ctx: int, cache_type: str) -> Memory:  # noqa: ARG001
        return Memory(0, 0, 0)

    assert largest_context(memory_of, QuantSize("Q", 0, 4.0), "f16", 1, 1 << 80) == 1 << 24


def test_growth() -> None:
    assert growth(Memory(2, 1, 1), 10) == 2.5
    assert growth(Memory(0, 0, 0), 10) == 0
