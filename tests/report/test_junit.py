"""JUnit XML: what a CI server reads, whatever a model may have answered."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from deployq import report
from deployq.report.junit import clean
from deployq.types import GateRule, GateVerdict
from tests.report.samples import BAD, GOOD, verification
from tests.report.test_quality_view import RULE, quality_report


def suites(text: str) -> dict[str, ET.Element]:
    root = ET.fromstring(text)
    assert root.tag == "testsuites"
    found = {suite.attrib["name"]: suite for suite in root}
    for suite in found.values():
        cases = list(suite)
        assert suite.attrib["tests"] == str(len(cases))
        failures = [case for case in cases if case.find("failure") is not None]
        assert suite.attrib["failures"] == str(len(failures))
        assert all(case.attrib["classname"] and case.attrib["name"] for case in cases)
    return found


def failed(suite: ET.Element) -> dict[str, str]:
    found = {}
    for case in suite:
        failure = case.find("failure")
        if failure is not None:
            found[case.attrib["name"]] = failure.attrib["message"]
    return found


def test_a_tag_that_passes_its_threshold_fails_nothing() -> None:
    found = suites(report.verifications_junit([verification("a:q8_0", 2), verification("b:q2", 4)]))
    assert failed(found["a:q8_0"]) == {}
    assert len(found["a:q8_0"].findall("*/skipped")) == 2
    assert list(failed(found["b:q2"])) == ["create-review-report", "never-stops", "silent", "empty"]
    assert "did not answer" in failed(found["b:q2"])["silent"]
    never = next(case for case in found["b:q2"] if case.attrib["name"] == "never-stops")
    assert "\ufffd[31m[bold]delete" in (never.find("failure").text or "")  # type: ignore[union-attr]


def test_a_push_has_its_targets_tags_and_gates() -> None:
    good = suites(report.push_junit(GOOD))
    assert set(good) == {"task-api on laptop", "task-api on 4090"}
    assert not any(map(failed, good.values()))
    bad = suites(report.push_junit(BAD))
    assert "did not pass its suite" in failed(bad["task-api on laptop"])["deployed"]
    assert "nothing answers" in failed(bad["task-api on 4090"])["deployed"]
    rules = (RULE, GateRule("perplexity", "fail", "answer perplexity +62 %"))
    gated = replace(
        BAD.targets[0], gate=(GateVerdict("task-api:q4_k_m", "Q4_K_M", rules),), reason="no"
    )
    found = suites(report.push_junit(replace(BAD, targets=(gated,))))["task-api on laptop"]
    assert failed(found)["gate: perplexity"] == "answer perplexity +62 %"
    assert "gate: checks lost" not in failed(found)


def test_what_full_precision_fails_too_is_not_the_quants_fault() -> None:
    (found,) = suites(report.quality_junit(quality_report(holds=False))).values()
    assert list(failed(found)) == ["gate: perplexity", "not worse: answer perplexity", "lost"]
    skipped = {c.attrib["name"]: c.find("skipped") for c in found}
    both = skipped["both"]
    assert both is not None
    assert "full precision fails it too" in both.attrib["message"]


def test_a_quant_that_holds_fails_nothing() -> None:
    (found,) = suites(report.quality_junit(quality_report(holds=True))).values()
    assert failed(found) == {}


@given(st.text())
def test_any_text_makes_valid_xml(text: str) -> None:
    root = ET.Element("a", b=clean(text))
    again = ET.fromstring(ET.tostring(root, "unicode"))
    assert again.tag == "a"
