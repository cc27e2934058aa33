"""JUnit XML, as CI servers read it: what was asked, what failed, and why.

The format is the one that Jenkins' xUnit plugin and its followers take: `testsuites`,
`testsuite`, `testcase` with `failure` or `skipped` (https://github.com/testmoapp/junitxml).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from deployq.records import dataclass

if TYPE_CHECKING:
    from deployq.types import (
        Evidence,
        GateVerdict,
        PromptResult,
        QualityReport,
        Report,
        TagReport,
        TargetReport,
        Verification,
    )

# What XML 1.0 can't hold, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Case:
    """One thing that was looked at; `failure` or `skipped` says why, `detail` at length."""

    group: str
    name: str
    seconds: float = 0.0
    failure: str = ""
    skipped: str = ""
    detail: str = ""


def verifications_junit(found: Iterable[Verification]) -> str:
    """A suite per tag, a case per prompt; a tag that passes its threshold fails nothing."""
    return document("verify", ((one.tag, list(_verification(one))) for one in found))


def quality_junit(report: QualityReport) -> str:
    """A suite per tag: its gate, its decisions, and the prompts that only it fails."""
    return document(
        f"quality {report.model}",
        ((one.quality.tag, list(_evidence(one))) for one in report.evidence),
    )


def push_junit(report: Report) -> str:
    """A suite per target: its tags, the gate's rules, and each tag's prompts."""
    return document(
        f"push {report.model}",
        ((f"{report.model} on {t.target}", list(_target(t))) for t in report.targets),
    )


# ---------------------------------------------------------------- cases


def _verification(found: Verification) -> Iterator[Case]:
    for result in found.results:
        why = "" if result.ok else _why(result)
        good = "" if not found.ok else why
        yield _case(found.tag, result, failure="" if good else why, skipped=good)


def _evidence(one: Evidence) -> Iterator[Case]:
    tag, quality = one.quality.tag, one.quality
    yield from _gate(one.verdict)
    for decision in one.decisions:
        bad = decision.call != "not worse" and not one.holds
        said = f"{decision.call} at a margin of {decision.margin:.0%}"
        yield Case(tag, f"not worse: {decision.what}", failure=said if bad else "")
    baseline = quality.baseline_verification
    before = {r.prompt.name: r.ok for r in baseline.results} if baseline else {}
    for result in quality.verification.results:
        known = before.get(result.prompt.name, True)
        why = "" if result.ok else _why(result)
        tolerated = why and (one.verdict.ok or not known)
        skipped = f"{'tolerated' if known else 'full precision fails it too'}: {why}"
        yield _case(
            tag, result, failure="" if tolerated else why, skipped=skipped if tolerated else ""
        )


def _target(target: TargetReport) -> Iterator[Case]:
    tags = (*target.tags, *([target.alias] if target.alias else []))
    if not tags or target.exit_code:
        yield Case(target.target, "deployed", failure=target.reason, detail=target.hint)
    for tag in tags:
        yield _tag(target.target, tag)
        if tag.verification is not None:
            yield from _verification(tag.verification)
    gave_way = {tag.tag for tag in target.tags if tag.status == "skipped"}
    for verdict in target.gate:
        if target.exit_code or verdict.tag not in gave_way:
            yield from _gate(verdict)


def _tag(target: str, tag: TagReport) -> Case:
    said = tag.reason or tag.status
    seconds = sum(step.seconds for step in tag.steps)
    return Case(
        target,
        tag.tag,
        seconds,
        failure=said if tag.status == "failed" else "",
        skipped=said if tag.status in ("skipped", "unchanged") else "",
        detail=tag.hint,
    )


def _gate(verdict: GateVerdict) -> Iterator[Case]:
    for rule in verdict.rules:
        yield Case(
            verdict.tag,
            f"gate: {rule.rule}",
            failure=rule.reason if rule.status == "fail" else "",
            detail=rule.reason,
        )


def _case(group: str, result: PromptResult, *, failure: str, skipped: str) -> Case:
    answer = result.answer
    seconds = answer.wall_seconds if answer else 0.0
    said = answer.text if answer else "(no answer)"
    return Case(group, result.prompt.name, seconds, failure, skipped, f"answered: {said}")


def _why(result: PromptResult) -> str:
    bad = [f"{v.check}: {v.reason}" for v in result.verdicts if not v.ok]
    passed = f"{result.passes} of {result.tries} tries passed; " if result.tries > 1 else ""
    return passed + "; ".join(bad)


# ---------------------------------------------------------------- XML


def document(name: str, suites: Iterable[tuple[str, list[Case]]]) -> str:
    root = ET.Element("testsuites", name=clean(name))
    for title, cases in suites:
        suite = ET.SubElement(root, "testsuite", {"name": clean(title), **_counts(cases)})
        for case in cases:
            suite.append(_element(case))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, "unicode") + "\n"


def _counts(cases: list[Case]) -> dict[str, str]:
    return {
        "tests": str(len(cases)),
        "failures": str(sum(bool(case.failure) for case in cases)),
        "skipped": str(sum(bool(case.skipped) and not case.failure for case in cases)),
        "errors": "0",
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }


def _element(case: Case) -> ET.Element:
    element = ET.Element(
        "testcase", classname=clean(case.group), name=clean(case.name), time=f"{case.seconds:.3f}"
    )
    if case.failure:
        failure = ET.SubElement(element, "failure", message=clean(case.failure))
        failure.text = clean(case.detail)
    elif case.skipped:
        ET.SubElement(element, "skipped", message=clean(case.skipped))
    return element


def clean(text: str) -> str:
    """A text without the characters that XML can't hold; each becomes U+FFFD."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
