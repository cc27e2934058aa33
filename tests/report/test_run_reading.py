"""A run's document read back as one record, whatever its kind and age."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from deployq import report
from deployq.report.formats import builtin_formats
from deployq.types import Recommendation
from tests.report import runs, samples
from tests.report.pages import seen
from tests.report.test_quality_view import evidence, quality_report


def stored(document: dict[str, Any]) -> Any:
    """A document after its way through a file."""
    return json.loads(json.dumps(document, ensure_ascii=True))


def test_a_push() -> None:
    run = report.read_run(stored(report.report_document(samples.BAD)), "2026-11-25T01-50-03Z")
    assert (run.kind, run.model, run.suite, run.exit_code) == ("push", "task-api", "task-api", 4)
    assert [target.ok for target in run.targets[:2]] == [False, False]
    laptop = run.targets[0]
    assert laptop.budget_bytes == samples.LAPTOP.budget_bytes
    assert laptop.file_limit_bytes == samples.LAPTOP.budget_bytes - samples.GIB - 164 * samples.MIB
    tags = {tag.quant: tag for tag in run.tags}
    assert list(tags) == ["Q8_0", "Q4_K_M"]
    assert (tags["Q4_K_M"].passed, tags["Q4_K_M"].total) == (20, 24)
    answers = {answer.prompt: answer for answer in tags["Q4_K_M"].answers}
    wrong = answers["create-review-report"]
    assert wrong.text is not None
    assert wrong.text.startswith('{"action"')
    assert [v.check for v in wrong.failed] == ["json_equals"]
    assert answers["good-3"].text == "{}"
    assert answers["silent"].text is None
    asked = {prompt.name: prompt.messages for prompt in run.prompts}
    assert asked["create-review-report"][0].content.startswith("Create a task")
    assert run.tags[0].bits_per_weight == 8.5
    assert "models/llama-3-8b-f16.gguf" in dict(run.facts)["source"]


def test_a_push_that_did_nothing() -> None:
    run = report.read_run(stored(report.report_document(samples.QUIET)), "x")
    page = seen(report.run_page(run)).text
    assert "Unchanged: Q8_0, Q6_K, Q5_K_M and Q4_K_M" in page
    assert "Nothing was asked in this run" in page


def test_a_report_of_an_older_deployq() -> None:
    """Without kinds, prompts and answers of those that passed."""
    document = stored(report.report_document(samples.BAD))
    del document["kind"], document["prompts"]
    for target in document["targets"]:
        target.pop("gate"), target.pop("planned")
        for tag in target["tags"]:
            tag.pop("quality")
            for prompt in tag["verification"]["prompts"]:
                prompt.pop("answer"), prompt.pop("done_reason")
    run = report.read_run(document)
    answers = {one.prompt: one for one in run.tags[1].answers}
    assert answers["create-review-report"].text is not None
    assert answers["good-3"].text is None
    assert answers["good-3"].ok
    assert "create-review-report" in seen(report.run_page(run)).text


def test_a_judgement() -> None:
    run = report.read_run(stored(report.quality_document(quality_report(holds=False))))
    assert (run.kind, run.baseline_quant, run.suite) == ("quality", "F16", "suite")
    (tag,) = run.tags
    assert tag.holds is False
    assert tag.agreement is not None
    assert (tag.agreement.same_top.value, tag.agreement.same_top.low) == (0.714, 0.661)
    assert [rule.status for rule in tag.gate] == ["pass", "fail"]
    known = {prompt.name: prompt.baseline_ok for prompt in run.prompts}
    assert known == {"good-0": True, "both": False, "lost": True}
    page = seen(report.run_page(run))
    assert "No quant holds: Q2_K is worse" in page.text
    assert "lost" in " ".join(page.values("class")).split()


def test_a_recommendation() -> None:
    found = [
        Recommendation("laptop", "Q2_K", "Q2_K holds", (evidence(True),), ("Q2_K",)),
        Recommendation("box", None, "nothing fits", (), ()),
    ]
    document = report.recommendations_document("t", found, plan=samples.PLAN, started="2026")
    run = report.read_run(stored(document))
    assert [(t.name, t.chosen, t.ok) for t in run.targets if t.name == "laptop"] == [
        ("laptop", "Q2_K", True)
    ]
    assert [tag.quant for tag in run.tags] == ["Q2_K"]
    assert run.baseline_digest == "d" * 64


def recommended(found: Recommendation) -> list[ET.Element]:
    """The cases of a recommendation for one target."""
    document = report.recommendations_document("t", [found], plan=samples.PLAN)
    text = report.run_junit(report.read_run(stored(document)))
    return list(ET.fromstring(text.partition("\n")[2]).iter("testcase"))


def failed(cases: list[ET.Element]) -> list[str]:
    return [case.attrib["name"] for case in cases if case.find("failure") is not None]


def test_what_a_recommendation_does_not_take_fails_nothing_as_junit() -> None:
    """Of what is taken, the gate's rules count, and a target without a quant fails."""
    weighed = (evidence(False),)
    taken = recommended(Recommendation("laptop", "Q2_K", "why", weighed, ("Q4_K_M", "Q2_K")))
    assert "gate: perplexity" in failed(taken)
    other = recommended(Recommendation("laptop", "Q4_K_M", "why", weighed, ("Q4_K_M", "Q2_K")))
    assert failed(other) == []
    skipped = [said.attrib["message"] for case in other for said in case.iter("skipped")]
    assert any(said.startswith("weighed and not taken: ") for said in skipped)
    none = recommended(Recommendation("laptop", None, "nothing fits", (), ()))
    assert failed(none) == ["takes a quant"]


@pytest.mark.parametrize("change", [{"schema": 2}, {"kind": "song"}, {"targets": 7}, {"plan": []}])
def test_what_is_no_run_is_refused(change: dict[str, Any]) -> None:
    document = stored(report.report_document(samples.GOOD)) | change
    if change == {"plan": []}:
        assert report.read_run(document).targets == ()
        return
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        report.read_run(document)


def test_every_format_takes_every_run() -> None:
    judged = (runs.run(), runs.hostile_run(), runs.run(3, ("Q4_K_M",)))
    pushed = report.read_run(stored(report.report_document(samples.BAD)), "x")
    for one in builtin_formats():
        for run in (*judged, pushed):
            assert one.render(run)
        assert one.suffix.startswith(".")


def test_markdown_and_junit_say_what_was_lost() -> None:
    texts = {one.name: one.render(runs.run()) for one in builtin_formats()}
    assert texts["markdown"].startswith("# ✓ task-api: Q4\\_K\\_M is the smallest that holds")
    assert "3 of 6 failed" in texts["markdown"]
    root = ET.fromstring(texts["junit"].encode())
    suite = next(s for s in root if s.get("name") == "task-api:q2_k")
    assert suite.get("failures") == "4"  # the gate's rule and three prompts
    assert json.loads(texts["json"])["tags"][0]["quant"] == "F16"


def test_junit_of_hostile_texts_is_xml() -> None:
    (junit,) = [one for one in builtin_formats() if one.name == "junit"]
    assert ET.fromstring(junit.render(runs.hostile_run()).encode("utf-8")) is not None
