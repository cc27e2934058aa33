"""The gate and the decisions, on records as measurements give them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.proof.baseline import finished
from deployq.proof.gate import judge_quality
from deployq.proof.judging import FAILURES_BELOW, evidence_of, smallest_holding
from deployq.proof.rules import Rules
from deployq.proof.summaries import stretches, summarize
from deployq.types import (
    Agreement,
    Answer,
    BaselineKey,
    Estimate,
    Evidence,
    GateVerdict,
    Message,
    Position,
    Prompt,
    PromptAgreement,
    PromptResult,
    Quality,
    TokenStep,
    TracedAnswer,
    Verdict,
    Verification,
)

KEY = BaselineKey("m" * 64, "s" * 64, "F16", {}, "0.34.4", "ollama", "cpu")
STEP = TokenStep("a", -0.1, (("a", -0.1), ("b", -2.5)))


def agreement(rises: Sequence[float], same: float = 1.0, tokens: int = 20) -> Agreement:
    """One prompt per rise of the negative log probability per token."""
    found, answers = [], []
    for number, rise in enumerate(rises):
        places = tuple(
            Position(i, i < same * tokens, max(rise, 0.0), 0.1 + rise, 0.1) for i in range(tokens)
        )
        name = f"p{number}"
        found.append(PromptAgreement(name, places, "same", None, 1, tokens, 0.1))
        answers.append(
            TracedAnswer(name, "r", "a" * tokens, "stop", (STEP,) * tokens, 5, 0, tokens, 0.1, 0.1)
        )
    baseline = finished(KEY, "s", "t:f16", answers)
    return summarize("t:q4", "Q4_K_M", baseline, found)


def verification(passed: Sequence[bool], texts: Sequence[str] = ()) -> Verification:
    results = []
    for number, ok in enumerate(passed):
        text = texts[number] if texts else '{"a": 1}'
        answer = Answer(text, "stop", 5, 5, 0.1, 0.0, 0.1)
        prompt = Prompt(f"p{number}", (Message("user", "x"),), {}, {"json": True})
        results.append(
            PromptResult(prompt, answer, (Verdict("json_equals", ok, "" if ok else "no"),))
        )
    return Verification("s", "t", 0.5, tuple(results), 1.0)


def quality(
    rises: Sequence[float],
    lost: int = 0,
    total: int = 100,
    texts: Sequence[str] = (),
    same: float = 1.0,
) -> Quality:
    now = [n >= lost for n in range(total)]
    return Quality(
        "t:q4",
        "Q4_K_M",
        100,
        verification(now, texts),
        agreement(rises, same),
        verification([True] * total),
    )


def statuses(verdict: GateVerdict) -> dict[str, str]:
    return {rule.rule: rule.status for rule in verdict.rules}


@pytest.mark.parametrize(
    ("rise", "status"), [(0.0, "pass"), (0.04, "pass"), (0.06, "warn"), (0.11, "fail")]
)
def test_the_lessons_rule_for_perplexity(rise: float, status: str) -> None:
    """5 % more is a warning, 10 % more is too much."""
    verdict = judge_quality(quality([math.log(1 + rise)] * 10), Rules())
    assert statuses(verdict)["perplexity"] == status
    assert verdict.ok == (status != "fail")


@pytest.mark.parametrize(
    ("lost", "total", "status"),
    [
        (0, 300, "pass"),
        (0, 30, "undecided"),
        (1, 30, "undecided"),
        (8, 30, "fail"),
        (20, 300, "fail"),
    ],
)
def test_lost_checks_fail_where_the_loss_is_shown(lost: int, total: int, status: str) -> None:
    verdict = judge_quality(quality([0.0] * 5, lost=lost, total=total), Rules(checks_lost=0.02))
    rule = verdict.rules[0]
    assert (rule.rule, rule.status) == ("checks lost", status)
    assert f"{lost} lost" in rule.reason
    if lost:
        assert "p0" in rule.reason
    if status == "undecided":
        assert "prompts would tell, 8 times of 10" in rule.reason


def test_what_checks_leave_undecided_the_perplexity_decides() -> None:
    one_lost = quality([0.001] * 30, lost=1, total=30)
    verdict = judge_quality(one_lost, Rules())
    assert (verdict.ok, verdict.call, verdict.decided_by) == (True, "not worse", "perplexity")
    strict = judge_quality(one_lost, Rules(strict=True))
    assert [rule.rule for rule in strict.failed] == ["checks lost"]
    wild = judge_quality(quality([0.0, 0.6] * 3, total=30), Rules())
    assert (wild.ok, wild.call, wild.decided_by) == (True, "undecided", "")
    with_agreement = judge_quality(quality([0.0, 0.6] * 3, total=30), Rules(agreement=0.5))
    assert with_agreement.decided_by == "agreement"


def test_gained_checks_make_up_for_lost_ones() -> None:
    before, now = verification([True, False] * 50), verification([False, True] * 50)
    found = Quality("t", "Q2_K", 1, now, None, before)
    assert statuses(judge_quality(found, Rules())) == {
        "checks lost": "undecided",
        "JSON validity": "pass",
    }


def test_answers_that_are_json_no_longer() -> None:
    """One of 10, or of 2,000, may be chance; six and none the other way are not."""

    def status(lost: int, total: int) -> str:
        texts = ['{"a": '] * lost + ['{"a": 1}'] * (total - lost)
        found = quality([0.0] * 5, total=total, texts=texts)
        return statuses(judge_quality(found, Rules(checks_lost=1)))["JSON validity"]

    assert [status(1, 10), status(1, 2000), status(5, 2000)] == ["pass", "pass", "pass"]
    assert [status(6, 10), status(6, 2000)] == ["fail", "fail"]
    lossless = judge_quality(quality([0.0] * 5), Rules(json_validity=False))
    assert "JSON validity" not in statuses(lossless)


def test_agreement_only_where_it_is_asked_for() -> None:
    found = quality([0.01] * 5, same=0.8)
    assert "agreement" not in statuses(judge_quality(found, Rules()))
    assert statuses(judge_quality(found, Rules(agreement=0.85)))["agreement"] == "fail"
    assert statuses(judge_quality(found, Rules(agreement=0.75)))["agreement"] == "pass"


def test_what_is_within_the_noise_is_no_difference() -> None:
    found = quality([0.01] * 5, same=0.8)
    assert found.agreement is not None
    assert found.agreement.differs
    noisy = replace(found, agreement=replace(found.agreement, noise_floor=0.02))
    (rule,) = (r for r in judge_quality(noisy, Rules(agreement=0.85)).rules if r.value == 0.8)
    assert rule.status == "pass"
    assert "within the noise" in rule.reason


def test_what_is_not_sure_says_how_many_prompts_would_be() -> None:
    rises = [0.0, 0.3] * 4
    found = judge_quality(quality(rises), Rules(perplexity_fail=0.20))
    rule = next(rule for rule in found.rules if rule.rule == "perplexity")
    assert "prompts would tell" in rule.reason


# ---------------------------------------------------------------- not worse


def test_not_worse_takes_more_than_no_seen_loss() -> None:
    """With 24 prompts a loss of 2 % can't be told; with 300 it can."""
    small = evidence_of(quality([0.0] * 24, total=24), Rules())
    large = evidence_of(quality([0.0] * 24, total=300), Rules())
    assert (small.holds, small.decided_by) == (True, "answer perplexity")
    assert (large.holds, large.decided_by) == (True, "passed prompts")
    assert {d.what: d.call for d in small.decisions} == {
        "passed prompts": "undecided",
        "answer perplexity": "not worse",
    }


def test_what_no_figure_can_tell_does_not_hold() -> None:
    found = evidence_of(quality([0.0, 0.3] * 3, lost=4, total=300), Rules())
    assert found.verdict.ok
    assert (found.holds, found.decided_by) == (False, "")
    assert "passed prompts: undecided at a margin of 2%" in found.why
    assert "answer perplexity: undecided" in found.why
    assert "prompts would tell" in found.why


def test_a_higher_perplexity_is_worse_by_its_interval() -> None:
    assert not evidence_of(quality([0.07] * 24, total=300), Rules()).holds
    assert evidence_of(quality([0.03] * 24, total=300), Rules()).holds


@given(st.integers(1, 35), st.data())
@settings(max_examples=80, deadline=None)
def test_the_border_is_found_by_few_builds(count: int, data: st.DataObject) -> None:
    border = data.draw(st.integers(0, count))  # so many of the best hold
    chosen, asked = search(count, set(range(border)))
    assert chosen == (border - 1 if border else None)
    assert len(asked) == len(set(asked)) <= math.floor(math.log2(count)) + 1 + FAILURES_BELOW


def test_the_smallest_is_found_where_quality_is_no_ladder() -> None:
    assert (
        search(12, {0, 1, 2, 3, 5})[0] == 5
    )  # the fifth fails, though it is predicted to be better
    assert search(12, {0, 1, 2, 3, 5, 7, 9})[0] == 9
    assert search(12, {0, 1, 2, 3, 8})[0] == 3  # two in a row failed
    assert search(12, {0, 1, 2, 3, 8}, exhaustive=True)[0] == 8
    assert search(12, {11})[0] in (None, 11)
    assert search(12, {11}, exhaustive=True)[0] == 11


def test_a_quant_that_a_better_one_undercuts_is_not_built() -> None:
    """The second is as large as the first, and predicted to be worse."""
    chosen, asked = search(4, {0, 1, 2}, sizes=[50, 60, 40, 30])
    assert chosen == 2
    assert 1 not in asked


def search(
    count: int, holding: set[int], *, sizes: Sequence[int] = (), exhaustive: bool = False
) -> tuple[int | None, list[int]]:
    """What is chosen of quants 0, 1, 2, ... (the best first), and which were judged."""
    asked: list[int] = []
    good, bad = quality([0.0] * 3, total=3), quality([0.5] * 3, total=3)

    def judge(quant: str) -> Evidence:
        asked.append(int(quant[1:]))
        return evidence_of(good if asked[-1] in holding else bad, Rules())

    names = [f"q{number}" for number in range(count)]
    bytes_of = dict(zip(names, sizes or range(count, 0, -1), strict=True))
    chosen, judged = smallest_holding(names, bytes_of, judge, exhaustive=exhaustive)
    assert len(judged) == len(asked)
    return (int(chosen[1:]) if chosen else None), asked


# ---------------------------------------------------------------- summaries


def test_stretches_cover_every_place_once() -> None:
    places = [Position(i, True, 0.1 * i, 0.2, 0.1) for i in range(37)]
    found = stretches(places)
    assert [(s.first, s.last) for s in found] == [
        (0, 0), (1, 1), (2, 3), (4, 7), (8, 15), (16, 31), (32, 36),
    ]  # fmt: skip
    assert sum(s.positions for s in found) == 37


def test_places_that_were_left_out_count_nowhere() -> None:
    places = (Position(0, True, 0.0, 0.1, 0.1), Position(1, same_top=False), Position(2, None))
    found = [PromptAgreement("p", places, "early", 1, 1, 2, 0.1, retokenized=1)]
    answer = TracedAnswer("p", "r", "aa", "stop", (STEP, STEP), 5, 0, 2, 0.1, 0.1)
    made = summarize("t", "q", finished(KEY, "s", "t", [answer]), found)
    assert (made.compared, made.scored, made.left_out) == (2, 1, 1)
    assert made.same_top == Estimate(0.5)
    assert made.perplexity.value == pytest.approx(math.exp(0.1))
