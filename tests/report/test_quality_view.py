"""Judged quants as tables, Markdown and JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from deployq import report
from deployq.types import (
    Agreement,
    Baseline,
    BaselineKey,
    Cost,
    Decision,
    Estimate,
    Evidence,
    GateRule,
    GateVerdict,
    Noise,
    PromptResult,
    Quality,
    QualityReport,
    Recommendation,
    TracedAnswer,
    Verdict,
    Verification,
)
from tests.report.samples import answer, passed, prompt

ROOT = Path(__file__).resolve().parents[2]
KEY = BaselineKey("m" * 64, "s" * 64, "F16", {}, "0.34.4", "ollama", "cpu")
ANSWER = TracedAnswer("good-0", "<s>", "{}", "stop", (), 9, 0, 2, 0.1, 0.1)
BASELINE = Baseline(KEY, "suite", "t:f16", (ANSWER,), "2026-11-25T00:00:00Z", "d" * 64)
RULE = GateRule("checks lost", "pass", "2 of 3 prompts pass", 0.0, 0.02)
BAD_RULE = GateRule("perplexity", "fail", "answer perplexity up by 62 %", 0.62, 0.1)


def failed(name: str) -> PromptResult:
    wrong = (Verdict("json_equals", False, "it is empty, not JSON"),)
    return PromptResult(prompt(name, "List <my> | tasks"), answer("<b>x</b>|y\nz"), wrong)


def agreement(rise: float) -> Agreement:
    return Agreement(
        tag="t:q2_k",
        quant="Q2_K",
        baseline_digest="d" * 64,
        prompts=(),
        compared=283,
        scored=280,
        same_top=Estimate(0.714, 0.661, 0.765),
        kl=Estimate(0.36, 0.29, 0.44),
        perplexity=Estimate(1.8 * (1 + rise), 1.8, 3.4),
        baseline_perplexity=1.8,
        perplexity_ratio=Estimate(1 + rise, 1 + rise - 0.03, 1 + rise + 0.03),
        noise=(Noise("cached", 2, 40, 1.0, 0.0001, 0.002),),
        cost=Cost(40, 330, 9.0, 283),
    )


def evidence(holds: bool) -> Evidence:
    rise = 0.004 if holds else 0.62
    before = Verification("suite", "t:f16", 1.0, (passed(0), failed("both"), passed(1)), 1.0)
    lost = replace(passed(1), prompt=prompt("lost", "x")) if holds else failed("lost")
    before = replace(before, results=(*before.results[:2], replace(passed(1), prompt=lost.prompt)))
    now = Verification("suite", "t:q2_k", 1.0, (passed(0), failed("both"), lost), 1.0)
    loss = Estimate(rise, rise - 0.03, rise + 0.03)
    call = Decision("answer perplexity", "not worse" if holds else "worse", loss, 0.05, 3)
    rules = (RULE,) if holds else (RULE, BAD_RULE)
    quality = Quality("t:q2_k", "Q2_K", 3_000_000, now, agreement(rise), before)
    verdict = GateVerdict("t:q2_k", "Q2_K", rules)
    return Evidence(quality, verdict, (call,), holds, "" if holds else "perplexity: <up> by 62 %")


def quality_report(*, holds: bool) -> QualityReport:
    return QualityReport("t", "suite", BASELINE, (evidence(holds),), ("a remark",), "2026", 12.0)


def test_markdown_escapes_and_counts() -> None:
    text = report.quality_markdown(quality_report(holds=False))
    assert "| Q2\\_K |" in text
    assert "**no**" in text
    assert "perplexity: \\<up\\> by 62 %" in text
    assert "- a remark" in text


def test_the_document_says_all_of_it_as_json() -> None:
    document = report.quality_document(quality_report(holds=False))
    assert json.loads(json.dumps(document)) == document
    assert (document["schema"], document["kind"]) == (1, "quality")
    (tag,) = document["tags"]
    assert tag["holds"] is False
    assert tag["gate"][1]["status"] == "fail"
    assert tag["decisions"][0]["call"] == "worse"
    assert tag["agreement"]["same_top"] == {
        "value": 0.714, "low": 0.661, "high": 0.765, "confidence": 0.95,
    }  # fmt: skip
    names = {p["name"]: (p["ok"], p["baseline_ok"]) for p in tag["checks"]["prompts"]}
    assert names["lost"] == (False, True)
    assert names["both"] == (False, False)


def test_documents_keep_their_published_schema() -> None:
    """What other programs read: no key may go, and none changes its type."""
    schema = json.loads((ROOT / "docs" / "schemas" / "quality.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    found = Recommendation("laptop", None, "nothing holds", (evidence(False),), ("Q2_K",))
    quality = report.quality_document(quality_report(holds=False))
    for document in (quality, report.recommendations_document("t", [found])):
        jsonschema.validate(document, schema)
    del quality["tags"][0]["agreement"]["noise_floor"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(quality, schema)


def test_a_recommendation_names_what_was_judged() -> None:
    found = Recommendation("laptop", None, "nothing holds", (evidence(False),), ("Q2_K",))
    assert "# laptop: nothing holds" in report.recommendation_markdown(found)
    document = report.recommendations_document("t", [found])
    assert document["targets"][0]["chosen"] is None
    assert document["targets"][0]["considered"] == ["Q2_K"]
