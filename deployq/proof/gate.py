"""The gate: is a tag good enough to be promoted? Pure: figures in, verdict with reasons out.

Each rule decides by the figure itself, as a user reads it; where the figure's interval reaches
over the limit, the reason says so and how many prompts would settle it.
"""

from __future__ import annotations

from collections.abc import Iterator

from deployq.proof.checks import read_json
from deployq.proof.rules import Rules
from deployq.proof.statistics import decide
from deployq.proof.summaries import lost_checks, shifted
from deployq.types import (
    Agreement,
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


def judge_quality(quality: Quality, rules: Rules) -> GateVerdict:
    """What the gate says of one tag."""
    return GateVerdict(quality.tag, quality.quant, tuple(_rules(quality, rules)))


def _rules(quality: Quality, rules: Rules) -> Iterator[GateRule]:
    baseline = quality.baseline_verification
    if baseline is not None:
        yield _checks(baseline, quality.verification, rules)
        if rules.json_validity and (rule := _json(baseline, quality.verification)):
            yield rule
    if quality.agreement is not None:
        yield _perplexity(quality.agreement, rules)
        if rules.agreement is not None:
            yield _same_top(quality.agreement, rules.agreement)
        if quality.agreement.unanswered:
            yield _unanswered(quality.agreement)


# ---------------------------------------------------------------- the rules


def _checks(baseline: Verification, tag: Verification, rules: Rules) -> GateRule:
    lost, gained, loss = lost_checks(baseline, tag, rules.confidence)
    total = len(tag.results)
    share = len(lost) / total if total else 0.0
    said = (
        f"{tag.passed} of {total} prompts pass, {baseline.passed} with full precision; "
        f"{len(lost)} lost{_some(lost)}, {len(gained)} gained"
    )
    status: GateStatus = "fail" if share > rules.checks_lost else "pass"
    decision = decide("passed prompts", loss, max(rules.checks_lost, 1 / max(total, 1)), total)
    return GateRule("checks lost", status, said + _unsure(decision), share, rules.checks_lost)


def _json(baseline: Verification, tag: Verification) -> GateRule | None:
    before, now = _valid(baseline), _valid(tag)
    if before is None or now is None:
        return None
    status: GateStatus = "fail" if now < before else "pass"
    reason = f"{now:.1%} of the answers that should be JSON are, {before:.1%} with full precision"
    return GateRule("JSON validity", status, reason, now, before)


def _valid(verification: Verification) -> float | None:
    """The share of answers that are JSON, among those that should be."""
    asked = [r for r in verification.results if JSON_CHECKS & r.prompt.checks.keys()]
    return sum(map(_is_json, asked)) / len(asked) if asked else None


def _is_json(result: PromptResult) -> bool:
    if result.answer is None:
        return False
    try:
        read_json(result.answer)
    except ValueError:
        return False
    return True


def _perplexity(agreement: Agreement, rules: Rules) -> GateRule:
    rise = shifted(agreement.perplexity_ratio, -1.0)
    status: GateStatus = "pass"
    limit = rules.perplexity_warn
    if rise.value > rules.perplexity_fail:
        status, limit = "fail", rules.perplexity_fail
    elif rise.value > rules.perplexity_warn:
        status = "warn"
    said = (
        f"answer perplexity {agreement.perplexity.value:.3f}, "
        f"{agreement.baseline_perplexity:.3f} with full precision: {_percent(rise)}"
    )
    decision = decide("answer perplexity", rise, rules.perplexity_fail, len(agreement.prompts))
    return GateRule("perplexity", status, said + _unsure(decision), rise.value, limit)


def _same_top(agreement: Agreement, least: float) -> GateRule:
    share = agreement.same_top.value
    status: GateStatus = "pass" if share >= least or not agreement.differs else "fail"
    reason = f"{share:.1%} of the tokens stay the likeliest, {least:.1%} are asked for"
    if share < least and not agreement.differs:
        reason += ", but the difference is within the noise"
    return GateRule("agreement", status, reason, share, least)


def _unanswered(agreement: Agreement) -> GateRule:
    names = agreement.unanswered
    return GateRule("answers", "fail", f"{len(names)} prompts got no answer{_some(names)}")


# ---------------------------------------------------------------- words


def _unsure(decision: Decision) -> str:
    if decision.call != "undecided":
        return ""
    if decision.prompts_needed is None:
        return " (too few prompts to be sure)"
    return f" (to be sure, some {decision.prompts_needed} prompts are needed)"


def _some(names: tuple[str, ...]) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > NAMES_SHOWN else ""
    return f" ({', '.join(names[:NAMES_SHOWN])}{more})"


def _percent(rise: Estimate) -> str:
    if rise.low is None or rise.high is None:
        return f"{rise.value:+.1%}"
    return f"{rise.value:+.1%} [{rise.low:+.1%}, {rise.high:+.1%}]"
