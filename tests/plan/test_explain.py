"""The lines of an explanation add up to the figures that they explain."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deployq.errors import ConfigError
from deployq.plan.disk import Place
from deployq.plan.explain import explain, tensor_groups
from deployq.plan.planner import make_plan
from deployq.plan.quants import own_size
from deployq.types import Explanation, MemoryKind, ModelInfo, Target
from tests.plan.conftest import MODELS, Oracle


def explained(
    info: ModelInfo, quant: str, cache_type: str = "f16", kind: MemoryKind = "ram"
) -> Explanation:
    target = Target("box", kind, 1 << 38, 0, 4096, cache_type, quants=(quant,))
    plan = make_plan("m", info, [target], lambda q: own_size(info, q), artifacts=Place(1 << 50))
    return explain(plan, plan.targets[0], quant)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("quant", "cache_type"), [("Q4_K_M", "f16"), ("Q2_K", "q8_0/q4_0")])
def test_terms_add_up(
    oracle: Callable[[str], Oracle], model: str, quant: str, cache_type: str
) -> None:
    info = oracle(model).info
    one = explained(info, quant, cache_type)
    size, memory = one.candidate.size, one.candidate.memory
    assert sum(term.term_bytes for term in one.file) == size.file_bytes
    assert sum(term.term_bytes for term in one.kv_cache) == memory.kv_cache_bytes
    assert sum(term.term_bytes for term in one.compute) == memory.compute_bytes
    assert sum(term.term_bytes for term in one.weights) == memory.weights_bytes
    assert all(term.term_bytes > 0 for term in (*one.file, *one.kv_cache, *one.compute))
    assert sum(group.tensors for group in one.groups) == len(info.tensors)
    assert sum(group.n_elements for group in one.groups) == info.n_params
    assert not [term for term in one.kv_cache if term.what == "more"]


@pytest.mark.parametrize("model", MODELS)
def test_terms_add_up_on_a_card(oracle: Callable[[str], Oracle], model: str) -> None:
    info = oracle(model).info
    one = explained(info, "Q4_K_M", kind="vram")
    memory = one.candidate.memory
    assert sum(term.term_bytes for term in one.weights) == memory.weights_bytes
    tied = not any(tensor.name == "output.weight" for tensor in info.tensors)
    taken, *copied = one.weights[1:]
    assert (taken.what, taken.term_bytes) == ("embeddings", -memory.host_bytes)
    assert [term.term_bytes for term in copied] == [memory.host_bytes] * tied


def test_roles_and_types(oracle: Callable[[str], Oracle]) -> None:
    one = explained(oracle("llama-3-8b").info, "Q4_K_M")
    types = {(group.role, group.type): group.tensors for group in one.groups}
    assert types["attn_v", "Q6_K"] == 16
    assert types["attn_v", "Q4_K"] == 16
    assert types["output", "Q6_K"] == 1
    assert types["norms", "F32"] == 65
    assert "8 key" not in one.kv_cache[0].formula
    assert "32 layers × 4096 cells × (1024 of a key × 16 bits" in one.kv_cache[0].formula


def test_the_source_s_own_types(oracle: Callable[[str], Oracle]) -> None:
    info = oracle("llama-3-8b").info
    groups = tensor_groups(info, [tensor.type for tensor in info.tensors])
    assert {group.type for group in groups} == {"F16", "F32"}


def test_a_quant_that_is_no_candidate(oracle: Callable[[str], Oracle]) -> None:
    info = oracle("llama-3-8b").info
    target = Target("box", "ram", 1 << 37, 0, 4096, quants=("Q8_0",))
    plan = make_plan("m", info, [target], lambda q: own_size(info, q), artifacts=Place(0))
    with pytest.raises(ConfigError, match="Q4_K_M is no candidate of the target 'box': Q8_0"):
        explain(plan, plan.targets[0], "Q4_K_M")
