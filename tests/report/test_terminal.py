"""Push summaries and verifications as people read them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployq.report.terminal import push_summary, verification_view
from deployq.types import Report, StepResult
from tests.report import samples
from tests.report.conftest import Golden, rendered


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize(("name", "report"), [("push", samples.GOOD), ("push-failed", samples.BAD)])
def test_summary_reads_as_it_should(golden: Golden, name: str, report: Report, width: int) -> None:
    golden(name, width, push_summary(report, samples.NEXT))


def test_an_unchanged_push_says_so(golden: Golden) -> None:
    golden("push-unchanged", 80, push_summary(samples.QUIET, samples.NEXT[:1]))
    assert "nothing to do" not in rendered(push_summary(samples.GOOD), 80)


@pytest.mark.parametrize("failed", [0, 2, 4])
def test_verification_reads_as_it_should(golden: Golden, failed: int) -> None:
    verification = samples.verification("task-api:q4_k_m", failed)
    golden(f"verification-{failed}-failed", 80, verification_view(verification))


def test_three_failures_are_shown_and_the_rest_counted() -> None:
    text = rendered(push_summary(samples.BAD), 80)
    assert text.count("    asked ") == 3
    assert "… and 1 more: see .deployq/runs/2026-11-25T01-50-03Z/report.json" in text


def test_an_answer_cannot_steer_the_terminal() -> None:
    text = rendered(push_summary(samples.BAD), 140)
    assert "\x1b" not in text
    assert "\\x1b[31m[bold]delete" in text


def test_a_tag_shared_by_two_targets_fails_once() -> None:
    target = samples.BAD.targets[0]
    twice = replace(samples.BAD, targets=(target, replace(target, target="other")))
    text = rendered(push_summary(twice), 80)
    assert text.count("✗ create-review-report") == 1


def test_a_skipped_step_is_explained() -> None:
    skipped = replace(
        samples.tag("Q8_0"), steps=(StepResult("upload", "skipped", detail="it has the blob"),)
    )
    target = replace(samples.GOOD.targets[0], tags=(skipped,))
    text = rendered(push_summary(replace(samples.GOOD, targets=(target,))), 80)
    assert "skipped  task-api:q8_0: upload: it has the blob" in text


def test_the_needed_number_agrees_with_the_verdict() -> None:
    verification = samples.verification("t:q8_0", 3, threshold=0.875)
    assert verification.ok
    assert "(still enough: 21 are needed)" in rendered(verification_view(verification), 80)
    verification = samples.verification("t:q8_0", 4, threshold=0.875)
    assert "(21 are needed)" in rendered(verification_view(verification), 80)


def test_the_failed_target_and_its_exit_code_are_named() -> None:
    text = rendered(push_summary(samples.BAD), 140)
    assert "✗  task-api: failed for laptop, 4090 after 43 s (exit code 4)" in text
