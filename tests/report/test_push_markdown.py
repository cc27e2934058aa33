"""A push and a verification as Markdown, for the step summary of a CI run."""

from __future__ import annotations

from dataclasses import replace

from deployq import report
from deployq.types import GateVerdict
from tests.report.samples import BAD, GOOD, verification
from tests.report.test_quality_view import BAD_RULE, RULE, evidence


def test_a_good_push_in_a_table() -> None:
    text = report.push_markdown(GOOD)
    assert text.startswith("# ✓ task-api\n")
    assert "## ✓ laptop" in text
    assert "| task-api:q4\\_k\\_m | Q4_K_M |" in text
    assert "| 24 of 24 |" in text


def test_a_bad_push_says_why_and_quotes_hostile_answers() -> None:
    text = report.push_markdown(BAD)
    assert "failed (exit code 4)" in text
    assert "**task-api:q4\\_k\\_m did not pass its suite" in text
    assert "<summary>task-api:q4\\_k\\_m: 4 of 24 failed</summary>" in text
    assert "\\[bold\\]delete" in text
    assert "\x1b" not in text


def test_the_gate_is_told_rule_by_rule() -> None:
    tag = replace(GOOD.targets[0].tags[0], quality=evidence(False).quality)
    verdict = GateVerdict("task-api:q8_0", "Q8_0", (RULE, BAD_RULE))
    target = replace(GOOD.targets[0], tags=(tag,), gate=(verdict,), planned="Q2_K", chosen="Q8_0")
    text = report.push_markdown(replace(GOOD, targets=(target,)))
    assert "planned Q2_K, took **Q8_0**" in text
    assert "- gate, Q8_0, fail: answer perplexity up by 62 %" in text
    assert "| 0.714 | +62.0% |" in text


def test_verifications_in_one_table() -> None:
    text = report.verifications_markdown([verification("a:q8_0", 2), verification("b:q2", 4)])
    assert "| a:q8\\_0 | task-api | 22 of 24 | 90% | ✓ |" in text
    assert "| b:q2 | task-api | 20 of 24 | 90% | ✗ |" in text
    assert "List my tasks" not in text
