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
from deployq.proof.judging import evidence_of, smallest_holding, too_few
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


@pytest.mark.parametrize(("lost", "status"), [(0, "pass"), (2, "pass"), (3, "fail")])
def test_lost_checks_up_to_the_tolerance(lost: int, status: str) -> None:
    verdict = judge_quality(quality([0.0] * 5, lost=lost), Rules(checks_lost=0.02))
    rule = verdict.rules[0]
    assert (rule.rule, rule.status) == ("checks lost", status)
    assert f"{lost} lost" in rule.reason
    if lost:
        assert "p0" in rule.reason


def test_gained_checks_make_up_for_no_lost_one() -> None:
    before, now = verification([True, False] * 50), verification([False, True] * 50)
    found = Quality("t", "Q2_K", 1, now, None, before)
    assert statuses(judge_quality(found, Rules())) == {
        "checks lost": "fail",
        "JSON validity": "pass",
    }


def test_one_answer_less_that_is_json() -> None:
    texts = ['{"a": 1}'] * 9 + ['{"a": ']
    found = quality([0.0] * 5, total=10, texts=texts)
    assert statuses(judge_quality(found, Rules(checks_lost=1)))["JSON validity"] == "fail"
    assert "JSON validity" not in statuses(judge_quality(found, Rules(json_validity=False)))


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
    assert "prompts are needed" in rule.reason


# ---------------------------------------------------------------- not worse


def test_not_worse_takes_more_than_no_seen_loss() -> None:
    """With 24 prompts a loss of 2 % can't be told; with 300 it can."""
    assert too_few(24, 0.02, 0.95)
    assert not too_few(300, 0.02, 0.95)
    small, large = quality([0.0] * 24, total=24), quality([0.0] * 24, total=300)
    assert evidence_of(small, Rules()).holds  # the perplexity decides
    assert evidence_of(large, Rules()).holds
    calls = {d.what: d.call for d in evidence_of(small, Rules()).decisions}
    assert calls == {"passed prompts": "undecided", "answer perplexity": "not worse"}


def test_a_loss_near_the_margin_is_undecided_and_does_not_hold() -> None:
    found = evidence_of(quality([0.0] * 24, lost=4, total=300), Rules())
    assert found.verdict.ok
    assert not found.holds
    assert "passed prompts: undecided at a margin of 2%" in found.why
    assert "prompts would tell" in found.why


def test_a_higher_perplexity_is_worse_by_its_interval() -> None:
    assert not evidence_of(quality([0.07] * 24, total=300), Rules()).holds
    assert evidence_of(quality([0.03] * 24, total=300), Rules()).holds


@given(st.integers(1, 35), st.data())
@settings(max_examples=80, deadline=None)
def test_bisection_finds_the_border_by_few_questions(count: int, data: st.DataObject) -> None:
    border = data.draw(st.integers(0, count))  # so many of the best hold
    quants = [f"q{number}" for number in range(count)]
    good, bad = quality([0.0] * 3, total=3), quality([0.5] * 3, total=3)
    asked: list[str] = []

    def judge(quant: str) -> Evidence:
        asked.append(quant)
        return evidence_of(good if int(quant[1:]) < border else bad, Rules())

    chosen, judged = smallest_holding(quants, judge)
    assert chosen == (quants[border - 1] if border else None)
    assert len(judged) == len(asked) == len(set(asked)) <= math.floor(math.log2(count)) + 1
    if 0 < border < count:
        assert {quants[border - 1], quants[border]} <= set(asked)


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
