"""Several models on one machine: the sum fits, and nobody pays for the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployq.plan.catalogue import CATALOGUE, CEILINGS, COMMON
from deployq.plan.disk import Place
from deployq.plan.planner import judge, make_plan
from deployq.plan.quants import own_size
from deployq.plan.together import VRAM_PROCESS_BYTES, plan_together
from deployq.types import Goal, MemoryKind, ModelInfo, Plan, QuantSize, Target, TogetherPlan
from tests.plan.conftest import Oracle

GIB = 1 << 30
Infos = tuple[ModelInfo, ...]


@pytest.fixture(scope="module")
def infos(oracle: Callable[[str], Oracle]) -> Infos:
    return tuple(oracle(name).info for name in ("llama-3-8b", "qwen2.5-7b"))


@cache
def size(info_id: int, quant: str) -> QuantSize:
    return own_size(KNOWN[info_id], quant)


KNOWN: dict[int, ModelInfo] = {}


def plan_of(info: ModelInfo, target: Target) -> Plan:
    KNOWN[id(info)] = info
    return make_plan(
        info.name, info, [target], lambda q: size(id(info), q), artifacts=Place(1 << 50)
    )


def together(
    infos: Infos, gib: float, goal: Goal = "max", kind: MemoryKind = "ram"
) -> TogetherPlan:
    target = Target("box", kind, int(gib * GIB), 0, 4096, goal=goal, goal_given=True)
    (plan,) = plan_together([plan_of(info, target) for info in infos])
    return plan


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(gib=st.floats(4, 40), goal=st.sampled_from(("balanced", "quality", "max", "memory")))
def test_the_sum_fits_and_goals_are_kept(infos: Infos, gib: float, goal: Goal) -> None:
    plan = together(infos, gib, goal)
    assert plan.verdict == judge(plan.total_bytes, plan.target.budget_bytes)
    ceiling = CATALOGUE[CEILINGS[goal]].rank
    ranks = [CATALOGUE[share.candidate.quant].rank for share in plan.shares]
    assert all(rank <= ceiling for rank in ranks)
    if plan.verdict == "no":
        assert {share.candidate.quant for share in plan.shares} == {"Q2_K"}
        assert "don't fit together" in plan.why


def test_nobody_could_be_better(infos: Infos) -> None:
    plan = together(infos, 12)
    assert plan.verdict != "no"
    spare = plan.target.budget_bytes - plan.total_bytes
    for share in plan.shares:
        info = next(info for info in infos if info.name == share.model)
        better = [
            own_size(info, q).file_bytes
            for q in ("Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q3_K_L", "Q3_K_M")
            if CATALOGUE[q].rank > CATALOGUE[share.candidate.quant].rank
        ]
        assert all(n - share.candidate.size.file_bytes > spare for n in better)


def test_quality_is_shared_out_evenly(infos: Infos) -> None:
    places = [COMMON.index(share.candidate.quant) for share in together(infos, 11).shares]
    assert max(places) - min(places) <= 2


def test_each_further_model_on_a_card_costs_a_process(infos: Infos) -> None:
    assert together(infos, 24, kind="ram").extra_bytes == 0
    card = together(infos, 24, kind="vram")
    assert card.extra_bytes == VRAM_PROCESS_BYTES
    assert card.total_bytes - card.extra_bytes == sum(
        share.candidate.memory.total_bytes for share in card.shares
    )


def test_the_server_is_told_to_keep_them(infos: Infos) -> None:
    assert "OLLAMA_KEEP_ALIVE=-1" in together(infos, 40).why
    assert "OLLAMA_MAX_LOADED_MODELS" not in together(infos, 40).why
    many = tuple(replace(infos[0], name=f"m{n}") for n in range(4))
    assert "OLLAMA_MAX_LOADED_MODELS=4" in together(many, 80).why


def test_every_model_has_its_own_context(infos: Infos) -> None:
    target = Target("box", "ram", 40 * GIB, 0, 4096)
    plans = [plan_of(infos[0], target), plan_of(infos[1], replace(target, n_ctx=16384))]
    (plan,) = plan_together(plans)
    assert [share.n_ctx for share in plan.shares] == [4096, 16384]
