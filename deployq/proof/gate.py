"""The gate: is a tag good enough to be promoted? Pure: figures in, verdict with reasons out.

A rule fails where a loss is shown at the confidence that is asked for, by pairs of answers to the
same prompts. Where few prompts can't tell, the next finer figure decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from deployq.proof.checks import read_json
from deployq.proof.rules import Rules
from deployq.proof.statistics import sign_test
from deployq.proof.summaries import (
    changed_sides,
    decide_checks,
    decide_perplexity,
    decide_same_top,
)
from deployq.types import (
    Agreement,
    Call,
    Decision,
    Estimate,
    GateRule,
    GateStatus,
    GateVerdict,
    PromptResult,
    Quality,
    Verification,
)

JSON_CHECKS = frozenset({"json", "json_schema", "json_equals", "json_path", "tool_call"})
NAMES_SHOWN = 3
STATUS: Mapping[Call, GateStatus] = {
    "not worse": "pass",
    "worse": "fail",
    "undecided": "undecided",
}


def judge_quality(quality: Quality, rules: Rules) -> GateVerdict:
    """What the gate says of one tag."""
    return GateVerdict(
        quality.tag, quality.quant, tuple(_rules(quality, rules)), is_strict=rules.strict
    )


def _rules(quality: Quality, rules: Rules) -> Iterator[GateRule]:
    baseline = quality.baseline_verification
    if baseline is not None:
        yield _checks(baseline, quality.verification, rules)
        if rules.json_validity and (rule := _json(baseline, quality.verification, rules)):
            yield rule
    if quality.agreement is not None:
        yield _perplexity(quality.agreement, rules)
        if rules.agreement is not None:
            yield _same_top(quality.agreement, rules.agreement)
        if quality.agreement.unanswered:
            yield _unanswered(quality.agreement)


# ---------------------------------------------------------------- the rules


def _checks(baseline: Verification, tag: Verification, rules: Rules) -> GateRule:
    lost, gained = changed_sides(baseline, tag)
    decision = decide_checks(baseline, tag, rules.checks_lost, rules.confidence)
    said = (
        f"{tag.passed} of {len(tag.results)} prompts pass, {baseline.passed} with full precision; "
        f"{len(lost)} lost{_some(lost)}, {len(gained)} gained{_unsure(decision)}"
    )
    value, limit = decision.loss.value, rules.checks_lost
    return GateRule("checks lost", STATUS[decision.call], said, value, limit)


def _json(baseline: Verification, tag: Verification, rules: Rules) -> GateRule | None:
    """Fewer answers that are JSON, by more than chance would have it."""
    asked = [r for r in tag.results if JSON_CHECKS & r.prompt.checks.keys()]
    if not asked:
        return None
    lost, gained = changed_sides(baseline, replace(tag, results=tuple(asked)), _is_json)
    chance = sign_test(len(lost), len(gained))
    status: GateStatus = "fail" if chance <= (1 - rules.confidence) / 2 else "pass"
    reason = (
        f"of {len(asked)} answers that should be JSON {len(lost)} are no longer{_some(lost)}, "
        f"{len(gained)} now are"
    )
    if lost and status == "pass":
        reason += "; that may be chance"
    return GateRule("JSON validity", status, reason, (len(lost) - len(gained)) / len(asked), 0.0)


def _is_json(result: PromptResult) -> bool:
    if result.answer is None:
        return False
    try:
        read_json(result.answer)
    except ValueError:
        return False
    return True


def _perplexity(agreement: Agreement, rules: Rules) -> GateRule:
    decision = decide_perplexity(agreement, rules.perplexity_fail)
    rise = decision.loss
    status = STATUS[decision.call]
    limit = rules.perplexity_fail
    if status == "pass" and rise.value > rules.perplexity_warn:
        status, limit = "warn", rules.perplexity_warn
    said = (
        f"answer perplexity {agreement.perplexity.value:.3f}, "
        f"{agreement.baseline_perplexity:.3f} with full precision: {_percent(rise)}"
    )
    return GateRule("perplexity", status, said + _unsure(decision), rise.value, limit)


def _same_top(agreement: Agreement, least: float) -> GateRule:
    decision = decide_same_top(agreement, least)
    share = agreement.same_top.value
    reason = f"{share:.1%} of the tokens stay the likeliest, {least:.1%} are asked for"
    if not agreement.differs:
        return GateRule(
            "agreement", "pass", f"{reason}; the difference is within the noise", share, least
        )
    return GateRule("agreement", STATUS[decision.call], reason + _unsure(decision), share, least)


def _unanswered(agreement: Agreement) -> GateRule:
    names = agreement.unanswered
    return GateRule("answers", "fail", f"{len(names)} prompts got no answer{_some(names)}")


# ---------------------------------------------------------------- words


def _unsure(decision: Decision) -> str:
    if decision.call != "undecided":
        return ""
    if decision.prompts_needed is None:
        return " (undecided)"
    return f" (undecided; {decision.prompts_needed} prompts would tell, 8 times of 10)"


def _some(names: tuple[str, ...]) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > NAMES_SHOWN else ""
    return f" ({', '.join(names[:NAMES_SHOWN])}{more})"


def _percent(rise: Estimate) -> str:
    if rise.low is None or rise.high is None:
        return f"{rise.value:+.1%}"
    return f"{rise.value:+.1%} [{rise.low:+.1%}, {rise.high:+.1%}]"
