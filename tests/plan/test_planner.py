"""Verdicts, choices and their reasons."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployq.errors import ConfigError, SourceError
from deployq.plan.catalogue import CATALOGUE, CEILINGS, COMMON
from deployq.plan.disk import Place, ServerStore
from deployq.plan.memory import predict
from deployq.plan.offload import skipped_bytes
from deployq.plan.planner import TIGHT_SHARE, judge, make_plan
from deployq.plan.quants import own_size, tensor_types
from deployq.source.inspect import inspect, require_full_precision
from deployq.types import (
    Goal,
    Memory,
    MemoryKind,
    ModelInfo,
    Plan,
    QuantSize,
    Serving,
    Target,
    TargetPlan,
)
from deployq.units import format_bytes
from tests.plan.conftest import Oracle
from tests.plan.judged import judged
from tests.plan.loadable import write_loadable
from tests.source.gguf_files import llama_keys, llama_tensors, write_llama, write_sparse

GIB = 1 << 30
GOALS: tuple[Goal, ...] = ("balanced", "quality", "max", "memory", "research")
ASKABLE = tuple(
    name for name, quant in CATALOGUE.items() if not quant.needs_imatrix and name != "F32"
)


def target(
    gib: float,
    *quants: str,
    goal: Goal | None = None,
    n_ctx: int = 8192,
    cache_type: str = "f16",
    name: str = "box",
) -> Target:
    return Target(
        name=name,
        kind="ram",
        memory_bytes=int(gib * GIB),
        reserve_bytes=0,
        n_ctx=n_ctx,
        cache_type=cache_type,
        serving=Serving(num_batch=512),
        goal=goal or "balanced",
        goal_given=goal is not None,
        quants=quants,
    )


@pytest.fixture(scope="session")
def llama(oracle: Callable[[str], Oracle]) -> ModelInfo:
    """Llama-3-8B: F16 needs 16.1 GiB at 8192, Q8_0 9.1, Q6_K 7.3, Q4_K_M 5.7, Q2_K 4.1."""
    return oracle("llama-3-8b").info


@cache
def size_at(path: Path, quant: str) -> QuantSize:
    return own_size(inspect(path), quant)


def plan(info: ModelInfo, *targets: Target, free: int = 1 << 50) -> Plan:
    return make_plan(
        "m",
        info,
        targets,
        lambda quant: size_at(info.path, quant),
        artifacts=Place(free),
        stores={None: ServerStore("the server's models", Place(free))},
    )


def one(info: ModelInfo, single: Target) -> TargetPlan:
    return plan(info, single).targets[0]


# ---------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("total", "verdict"),
    [(0, "fits"), (950, "fits"), (951, "tight"), (1000, "tight"), (1001, "no")],
)
def test_verdicts_at_their_borders(total: int, verdict: str) -> None:
    assert judge(total, budget_bytes=1000) == verdict


@given(total=st.integers(0, 1 << 45), budget=st.integers(0, 1 << 45))
def test_a_verdict_never_contradicts_its_figures(total: int, budget: int) -> None:
    verdict = judge(total, budget)
    assert (verdict == "no") == (total > budget)
    if verdict == "fits":
        assert total <= (1 - TIGHT_SHARE) * budget
    if verdict == "tight":
        assert total > (1 - TIGHT_SHARE) * budget


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    gib=st.floats(0, 40),
    n_ctx=st.integers(256, 65536),
    goal=st.sampled_from((None, *GOALS)),
    quants=st.lists(st.sampled_from(ASKABLE), max_size=5),
)
def test_plans_are_consistent(
    llama: ModelInfo, gib: float, n_ctx: int, goal: Goal | None, quants: list[str]
) -> None:
    found = one(llama, target(gib, *quants, goal=goal, n_ctx=n_ctx))
    verdicts = {c.quant: c.verdict for c in found.candidates}
    fitting = {quant for quant, verdict in verdicts.items() if verdict != "no"}
    assert set(verdicts) == set(quants or COMMON)
    assert found.why.count("\n") == 0
    for candidate in found.candidates:
        assert candidate.verdict == judge(candidate.memory.total_bytes, found.target.budget_bytes)
        assert format_bytes(candidate.memory.total_bytes) in candidate.reason
    if found.chosen is None:
        assert not found.build
        assert not fitting or not quants
    else:
        assert found.chosen in found.build
        assert set(found.build) == (fitting if quants else {found.chosen})


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(small=st.floats(0, 20), more=st.floats(0, 20), goal=st.sampled_from(GOALS))
def test_more_memory_never_gives_a_worse_quant(
    llama: ModelInfo, small: float, more: float, goal: Goal
) -> None:
    less = one(llama, target(small, goal=goal)).chosen
    better = one(llama, target(small + more, goal=goal)).chosen
    if less is not None:
        assert better is not None
        assert CATALOGUE[better].rank >= CATALOGUE[less].rank


def test_reasons_have_figures(llama: ModelInfo) -> None:
    reasons = {c.quant: c.reason for c in one(llama, target(9.2)).candidates}
    assert reasons["Q4_K_M"] == (
        "needs 5.7 GiB (weights 4.6 GiB, KV cache 1.0 GiB, compute 132.5 MiB) of 9.2 GiB"
    )
    assert "MiB to spare" in reasons["Q8_0"]
    assert reasons["F16"].endswith("6.9 GiB more than the 9.2 GiB")


# ---------------------------------------------------------------- goals, nothing named


@pytest.mark.parametrize(
    ("goal", "gib", "chosen"),
    [
        (None, 24, "Q4_K_M"),
        ("balanced", 5.6, "Q4_K_S"),
        ("balanced", 4.9, "Q3_K_M"),
        ("quality", 24, "Q6_K"),
        ("quality", 7.0, "Q5_K_M"),
        ("max", 24, "Q8_0"),
        ("max", 8.0, "Q6_K"),
        ("memory", 24, "Q4_K_S"),
        ("research", 24, "F16"),
        ("research", 12, "Q8_0"),
        ("balanced", 3.0, None),
    ],
)
def test_what_a_goal_chooses(llama: ModelInfo, goal: Goal, gib: float, chosen: str | None) -> None:
    found = one(llama, target(gib, goal=goal))
    assert found.chosen == chosen
    assert found.build == ((chosen,) if chosen else ())


def test_why_says_what_was_wanted_and_what_it_became(llama: ModelInfo) -> None:
    assert "is what the goal 'balanced' asks for" in one(llama, target(24)).why
    smaller = one(llama, target(5.6)).why
    assert (
        "asks for Q4_K_M; Q4_K_S is the nearest that fits, tightly: 5.5 GiB of 5.6 GiB" in smaller
    )


def test_nothing_is_chosen_that_another_beats(tmp_path: Path) -> None:
    """Nemotron 3's rows fall back: Q4_K_M takes more than Q5_K_S, which is better."""
    info = judged("nemotron-3-nano", tmp_path).info
    found = one(info, target(60))
    sizes = {c.quant: c.size.file_bytes for c in found.candidates}
    assert sizes["Q5_K_S"] <= sizes["Q4_K_M"]
    assert found.chosen == "Q5_K_S"
    assert "asks for Q4_K_M; of this model Q5_K_S is no larger and better" in found.why
    assert one(info, target(60, "Q5_K_S", "Q4_K_M", goal="balanced")).chosen == "Q5_K_S"


@pytest.mark.parametrize("name", ["nemotron-3-nano", "mamba2-370m", "rwkv7-1.5b", "gemma-3-1b"])
@pytest.mark.parametrize("goal", GOALS)
def test_no_choice_is_dominated(tmp_path: Path, name: str, goal: Goal) -> None:
    info = judged(name, tmp_path).info
    largest = own_size(info, "F16").file_bytes / GIB
    for gib in (largest * share for share in (0.25, 0.3, 0.4, 1.5)):
        found = one(info, target(gib, goal=goal, n_ctx=512))
        chosen = next((c for c in found.candidates if c.quant == found.chosen), None)
        for other in found.candidates if chosen else ():
            assert chosen is not None
            better = CATALOGUE[other.quant].rank > CATALOGUE[chosen.quant].rank
            assert not better or other.size.file_bytes > chosen.size.file_bytes


# ---------------------------------------------------------------- layers for prediction


@pytest.mark.parametrize("kind", ["ram", "vram"])
def test_layers_for_prediction_are_not_loaded_unless_for_drafting(
    tmp_path: Path, kind: MemoryKind
) -> None:
    with_mtp = judged("glm-4-9b-mtp", tmp_path).info
    without = judged("glm-4-9b", tmp_path).info
    box = replace(target(60, "Q8_0"), kind=kind)
    loaded, alone = (one(info, box).candidates[0] for info in (with_mtp, without))
    assert loaded.size.file_bytes - alone.size.file_bytes > 100 << 20
    assert loaded.memory.total_bytes == alone.memory.total_bytes
    drafting = one(with_mtp, replace(box, drafts=True))
    more = drafting.candidates[0].memory.total_bytes - loaded.memory.total_bytes
    types, _ = tensor_types(with_mtp, "Q8_0")
    assert more == skipped_bytes(with_mtp, types)
    assert any("draft_num_predict" in sentence for sentence in drafting.advice)


# ---------------------------------------------------------------- trained in MXFP4


@pytest.fixture
def gpt_oss(tmp_path: Path) -> ModelInfo:
    """gpt-oss-20b as the converter writes it: experts in MXFP4, the rest in 16 bits."""
    return judged("gpt-oss-20b", tmp_path, experts="MXFP4").info


@pytest.mark.parametrize("goal", [None, *GOALS])
def test_a_model_trained_in_mxfp4_stays_so(gpt_oss: ModelInfo, goal: Goal | None) -> None:
    assert not gpt_oss.quantized
    require_full_precision(gpt_oss, allow_requantize=False)
    found = one(gpt_oss, target(40, goal=goal))
    assert found.candidates[0].quant == found.chosen == "MXFP4_MOE"
    native = found.candidates[0].size.file_bytes
    assert all(c.size.file_bytes < native for c in found.candidates[1:])
    assert "as they were trained" in found.why


def test_larger_quants_of_a_model_trained_in_mxfp4_are_refused(gpt_oss: ModelInfo) -> None:
    for quant, why in (("Q8_0", "Q8_0 holds more"), ("Q3_K_L", "Q3_K_L would be")):
        with pytest.raises(ConfigError, match=why):
            one(gpt_oss, target(40, quant))


# ---------------------------------------------------------------- quants named


def test_every_named_quant_that_fits_is_built(llama: ModelInfo) -> None:
    found = one(llama, target(9.5, "F16", "Q8_0", "Q6_K", "Q4_K_M"))
    assert found.build == ("Q8_0", "Q6_K", "Q4_K_M")
    assert found.chosen == "Q8_0"
    assert "best of the quants asked for" in found.why


def test_a_goal_that_was_given_decides_among_them(llama: ModelInfo) -> None:
    named = ("Q8_0", "Q6_K", "Q4_K_M", "Q3_K_M")
    assert one(llama, target(24, *named, goal="quality")).chosen == "Q6_K"
    assert one(llama, target(24, *named, goal="memory")).chosen == "Q3_K_M"
    above = one(llama, target(24, "F16", "Q8_0", goal="balanced"))
    assert above.chosen == "Q8_0"
    assert "the nearest of the quants asked for" in above.why


def test_the_distinct_quants_of_all_targets(llama: ModelInfo) -> None:
    both = plan(
        llama, target(24, "Q8_0", "Q4_K_M", name="a"), target(6, "Q8_0", "Q4_K_M", name="b")
    )
    assert [t.build for t in both.targets] == [("Q8_0", "Q4_K_M"), ("Q4_K_M",)]
    assert both.quants == ("Q8_0", "Q4_K_M")
    sizes = [own_size(llama, q).file_bytes for q in both.quants]
    assert both.disk.needed_bytes == 2 * sum(sizes)


@pytest.mark.parametrize("quant", [n for n, q in CATALOGUE.items() if q.needs_imatrix])
def test_quants_that_need_an_imatrix_are_refused(llama: ModelInfo, quant: str) -> None:
    with pytest.raises(ConfigError, match=f"{quant} needs an importance matrix"):
        plan(llama, target(24, "Q4_K_M", quant))


def test_more_than_the_source_holds_is_refused(llama: ModelInfo) -> None:
    with pytest.raises(ConfigError, match="F32 holds more than the source, whose weights are F16"):
        plan(llama, target(99, "F32"))


def test_a_requantized_source_offers_nothing_above_itself(tmp_path: Path) -> None:
    types = {name: "Q6_K" for name, shape in llama_tensors().items() if len(shape) > 1}
    file = write_sparse(tmp_path / "q.gguf", "llama", llama_keys(), llama_tensors(), types)
    found = one(inspect(file), target(24, goal="research", n_ctx=512))
    assert found.chosen == "Q6_K"
    assert "Q8_0" not in {c.quant for c in found.candidates}


def test_a_named_quant_that_can_t_be_made(tmp_path: Path) -> None:
    tensors = llama_tensors(width=96, kv=96, ff=96)
    info = inspect(write_sparse(tmp_path / "a.gguf", "llama", llama_keys(), tensors))
    with pytest.raises(SourceError, match="Q1_0"):
        plan(info, target(24, "Q1_0", n_ctx=512))


def test_common_quants_that_can_t_be_made_are_left_out(llama: ModelInfo) -> None:
    def picky(quant: str) -> QuantSize:
        if quant == "Q4_K_M":
            raise SourceError("no")
        return own_size(llama, quant)

    found = make_plan("m", llama, [target(24)], picky, artifacts=Place(0)).targets[0]
    assert found.chosen == "Q4_K_S"


# ---------------------------------------------------------------- nothing fits


def test_what_is_missing_and_what_would_help(llama: ModelInfo) -> None:
    found = one(llama, target(5.0, "Q6_K", "Q4_K_M"))
    assert (found.chosen, found.build) == (None, ())
    assert "even Q4_K_M needs 5.7 GiB" in found.why
    assert "more than the 5.0 GiB there are" in found.why
    assert "a context of 2304" in found.why
    assert "the smaller quant Q3_K_M" in found.why


def test_each_help_really_helps(llama: ModelInfo) -> None:
    assert 'cache_type = "q8_0"' in one(llama, target(5.3, "Q4_K_M")).why
    assert one(llama, target(5.3, "Q4_K_M", cache_type="q8_0")).chosen == "Q4_K_M"
    assert one(llama, target(5.0, "Q4_K_M", n_ctx=2304)).chosen == "Q4_K_M"
    assert one(llama, target(5.0, "Q3_K_M")).chosen == "Q3_K_M"


def test_nothing_at_all_helps(llama: ModelInfo) -> None:
    assert "a smaller model is needed" in one(llama, target(1)).why


def test_no_memory_at_all(llama: ModelInfo) -> None:
    assert one(llama, target(0)).chosen is None


# ---------------------------------------------------------------- warnings, disk, injected memory


def test_a_context_beyond_training_is_warned_about(llama: ModelInfo) -> None:
    found = plan(llama, target(24, n_ctx=16384))
    (warning,) = found.warnings
    assert "loads the model with a context of 8192, not 16384" in warning
    (planned,) = found.targets
    assert planned.target.n_ctx == 8192
    assert planned.candidates == plan(llama, target(24)).targets[0].candidates
    assert not plan(llama, target(24, n_ctx=8192)).warnings


def test_what_ollama_serves_one_request_at_a_time(tmp_path: Path, llama: ModelInfo) -> None:
    four = replace(target(24, n_ctx=2048), serving=Serving(parallel=4))
    found = plan(inspect(write_loadable(tmp_path, "lfm2")), four)
    assert found.targets[0].target.serving.parallel == 1
    (warning,) = (text for text in found.warnings if "one request at a time" in text)
    assert "'lfm2'" in warning
    found = plan(llama, four)
    assert found.targets[0].target.serving.parallel == 4
    assert not found.warnings


@pytest.mark.parametrize(
    ("kind", "gib", "n_batch"), [("vram", 6, 512), ("vram", 12, 1024), ("ram", 6, 1024)]
)
def test_a_card_needs_room_for_a_larger_batch(
    llama: ModelInfo, kind: MemoryKind, gib: float, n_batch: int
) -> None:
    box = replace(target(gib, "Q4_K_M"), kind=kind, serving=Serving())
    (candidate,) = one(llama, box).candidates
    assert candidate.memory.n_batch == n_batch


def test_a_second_copy_on_some_processors_is_said(
    oracle: Callable[[str], Oracle], llama: ModelInfo
) -> None:
    """Of an embedding that is the output too, in a type that is repacked; planned it is not."""
    small = oracle("smollm2-135m").info

    def said(info: ModelInfo, box: Target) -> list[str]:
        return [note for note in plan(info, box).notes if "lies in RAM twice there" in note]

    (note,) = said(small, target(24, "Q8_0"))
    assert format_bytes(49152 * 576 * 34 // 32) in note
    assert not said(small, target(24, "F16"))
    assert not said(small, replace(target(24, "Q8_0"), kind="vram"))
    assert not said(llama, target(24, "Q8_0"))


def test_memory_without_flash_attention(llama: ModelInfo) -> None:
    """32 heads, 8192 cells, 1024 tokens, scores in F32: a GiB more."""
    box = replace(target(24, "Q4_K_M"), serving=Serving())
    without = replace(box, serving=Serving(flash_attention=False))
    (usual,), (scored,) = (one(llama, asked).candidates for asked in (box, without))
    assert scored.memory.compute_bytes / usual.memory.compute_bytes > 4
    assert scored.memory.compute_bytes > 32 * 8192 * 1024 * 4
    assert scored.memory.kv_cache_bytes == usual.memory.kv_cache_bytes


def test_fallbacks_that_undo_a_quant_are_warned_about(oracle: Callable[[str], Oracle]) -> None:
    small = oracle("smollm2-135m").info
    (warning,) = plan(small, target(24, "Q8_0", "Q4_K_M")).warnings
    assert "Q4_K_M is not what its name says" in warning
    assert "180 of 272" in warning
    assert "6.17 bits per weight, not about 4.89" in warning


def test_too_little_disk_is_warned_about(llama: ModelInfo) -> None:
    (warning,) = plan(llama, target(24), free=5 * GIB).warnings
    assert "need up to 9.2 GiB, 5.0 GiB are free: 4.2 GiB too little" in warning


def test_cached_artifacts_need_no_disk(llama: ModelInfo) -> None:
    def size_of(quant: str) -> QuantSize:
        return own_size(llama, quant)

    cached = make_plan(
        "m", llama, [target(24)], size_of, artifacts=Place(0), cached=frozenset({"Q4_K_M"})
    )
    assert [step.what for step in cached.disk.steps] == ["copy of Q4_K_M in the server"]


def test_another_judge_of_memory_decides(llama: ModelInfo) -> None:
    asked = []

    def doubled(size: QuantSize, n_ctx: int, cache_type: str) -> Memory:
        asked.append((size.quant, n_ctx, cache_type))
        own = predict(llama, size, n_ctx, cache_type)
        return Memory(2 * own.weights_bytes, own.kv_cache_bytes, own.compute_bytes)

    found = make_plan(
        "m",
        llama,
        [target(8, "Q4_K_M", cache_type="q8_0")],
        lambda quant: own_size(llama, quant),
        artifacts=Place(0),
        memory_of=doubled,
    )
    assert found.targets[0].chosen is None
    assert asked[0] == ("Q4_K_M", 8192, "q8_0")


def test_an_unmeasured_architecture_says_that_it_is_a_bound(tmp_path: Path) -> None:
    keys = {k: v for k, v in llama_keys().items() if k != "general.file_type"}
    info = inspect(write_sparse(tmp_path / "a.gguf", "newarch", keys, llama_tensors()))
    assert (
        "an upper bound: the architecture 'newarch'"
        in one(info, target(24, n_ctx=512)).candidates[0].reason
    )
    assert "upper bound" not in one(
        inspect(write_llama(tmp_path / "b.gguf")), target(24, n_ctx=512)
    ).candidates[0].reason  # fmt: skip


def test_goals_are_ordered_by_what_they_allow() -> None:
    order: tuple[Goal, ...] = ("memory", "balanced", "quality", "max", "research")
    ranks = [CATALOGUE[CEILINGS[goal]].rank for goal in order]
    assert all(a < b for a, b in itertools.pairwise(ranks))
