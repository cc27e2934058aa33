"""Advice: sentences whose figures hold."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from deployq.plan.disk import Place
from deployq.plan.memory import predict
from deployq.plan.planner import make_plan
from deployq.plan.quants import own_size
from deployq.types import Bandwidth, Goal, MemoryKind, ModelInfo, Target, TargetPlan
from tests.plan.conftest import Oracle

GIB = 1 << 30


@pytest.fixture(scope="module")
def llama(oracle: Callable[[str], Oracle]) -> ModelInfo:
    return oracle("llama-3-8b").info


def planned(
    info: ModelInfo,
    gib: float,
    *quants: str,
    kind: MemoryKind = "vram",
    n_ctx: int = 8192,
    cache_type: str = "f16",
    goal: Goal | None = None,
) -> TargetPlan:
    target = Target(
        "box", kind, int(gib * GIB), 0, n_ctx, cache_type, goal or "balanced", goal is not None,
        quants, bandwidth=Bandwidth(500e9),
    )  # fmt: skip
    plan = make_plan("m", info, [target], lambda q: own_size(info, q), artifacts=Place(1 << 50))
    return plan.targets[0]


def said(plan: TargetPlan, words: str) -> str:
    """The one sentence with these words."""
    (found,) = [sentence for sentence in plan.advice if words in sentence]
    return found


def test_room_for_a_larger_context(llama: ModelInfo) -> None:
    plan = planned(llama, 24, n_ctx=4096)
    assert said(plan, "room for a context") == (
        "Q4_K_M has room for a context of up to 8192, all that it was trained for"
    )
    tight = planned(llama, 5.2, "Q4_K_M", n_ctx=2048, kind="ram")
    n_ctx = int(said(tight, "room for a context").rsplit(" ", 1)[-1])
    assert n_ctx == tight.candidates[0].max_context
    assert predict(llama, own_size(llama, "Q4_K_M"), n_ctx).total_bytes <= 5.2 * GIB


def test_nothing_of_a_context_that_is_used_up(llama: ModelInfo) -> None:
    assert not [s for s in planned(llama, 24, n_ctx=8192).advice if "room for a context" in s]


def test_which_quant_to_take_when_the_model_grows(llama: ModelInfo) -> None:
    plan = planned(llama, 12, goal="max")
    sentence = said(plan, "if the model grows")
    times = [float(n) for n in re.findall(r"up to ([\d.]+) times", sentence)]
    needs = {c.quant: c.memory.total_bytes for c in plan.candidates}
    assert times[0] * needs["Q8_0"] <= 12 * GIB
    assert times[1] * needs["Q2_K"] <= 12 * GIB
    assert times[0] < times[1]


def test_a_smaller_cache_type_is_offered_where_it_saves_the_day(llama: ModelInfo) -> None:
    plan = planned(llama, 5.3, "Q4_K_M")
    sentence = said(plan, "would fit with a KV cache")
    assert (
        "Q4_K_M would fit with a KV cache of type q8_0 (544.0 MiB instead of 1.0 GiB)" in sentence
    )
    assert "OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE=q8_0" in sentence
    assert planned(llama, 5.3, "Q4_K_M", cache_type="q8_0").chosen == "Q4_K_M"


@pytest.mark.parametrize("gib", [24.0, 4.7])
def test_it_is_not_offered_where_it_helps_nobody(llama: ModelInfo, gib: float) -> None:
    assert not [s for s in planned(llama, gib, "Q4_K_M").advice if "would fit" in s]


def test_what_the_server_must_be_told(llama: ModelInfo) -> None:
    plan = planned(llama, 24, cache_type="q8_0")
    assert "OLLAMA_KV_CACHE_TYPE=q8_0" in said(plan, "counts on a KV cache")
    assert "Ollama can't set" in said(planned(llama, 24, cache_type="q8_0/f16"), "q8_0/f16")
    assert not [s for s in planned(llama, 24).advice if "OLLAMA" in s]


def test_a_card_that_is_too_small_is_shared_with_ram(llama: ModelInfo) -> None:
    sentence = said(planned(llama, 8, "F16", "Q4_K_M"), "shared with RAM (estimate)")
    layers, of = map(int, re.findall(r"(\d+) of (\d+) layers", sentence)[0])
    assert 0 < layers < of == 33
    assert "times slower" in sentence


def test_other_memory_shares_with_nobody(llama: ModelInfo) -> None:
    plan = planned(llama, 8, "F16", "Q4_K_M", kind="ram")
    assert not [s for s in plan.advice if "shared with RAM" in s]
    assert all(c.offload is None for c in plan.candidates)


def test_a_goal_s_worse_quants_are_not_offered_shared(llama: ModelInfo) -> None:
    # balanced takes Q4_K_M: that F16 could be shared with RAM is of no interest
    assert not [s for s in planned(llama, 8).advice if "shared" in s]


def test_a_card_that_misses_no_more_than_the_embedding(llama: ModelInfo) -> None:
    """281 MiB of Q4_K_M never go there: it runs wholly on a card that is smaller than the file."""
    assert planned(llama, 5.0, "Q4_K_M", n_ctx=2560).chosen == "Q4_K_M"
    assert planned(llama, 5.0, "Q4_K_M", n_ctx=2560, kind="ram").chosen is None
