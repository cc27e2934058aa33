"""Two runs held against each other: better, worse, or noise."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from deployq import report
from deployq.proof.comparison import compare_runs
from deployq.types import Run, RunAnswer, TagChange
from tests.report import runs
from tests.report.pages import seen


def changed(run: Run, quant: str, **changes: object) -> Run:
    """A run in which every second answer of a tag is another."""

    def other(number: int, one: RunAnswer) -> RunAnswer:
        return replace(one, **changes) if number % 2 else one  # type: ignore[arg-type]

    tags = tuple(
        replace(t, answers=tuple(other(n, a) for n, a in enumerate(t.answers)))
        if t.quant == quant
        else t
        for t in run.tags
    )
    return replace(run, tags=tags)


def tag_of(before: Run, after: Run, quant: str) -> TagChange:
    return next(tag for tag in compare_runs(before, after).tags if tag.quant == quant)


def test_a_run_is_the_same_as_itself() -> None:
    found = compare_runs(runs.run(20), runs.run(20))
    assert found.verdict == "same"
    assert {one.verdict for tag in found.tags for one in tag.figures} == {"same"}
    assert not any(tag.lost or tag.gained or tag.rewritten for tag in found.tags)


def test_lost_prompts_make_a_tag_worse_and_the_way_back_better() -> None:
    before, after = runs.run(20), changed(runs.run(20), "Q8_0", ok=False, text="?")
    worse, better = tag_of(before, after, "Q8_0"), tag_of(after, before, "Q8_0")
    assert (worse.verdict, better.verdict) == ("worse", "better")
    assert worse.lost == better.gained == tuple(f"prompt-{n}" for n in range(1, 20, 2))
    checks = next(one for one in worse.figures if one.figure == "checks")
    assert (checks.before, checks.after, checks.prompts) == (1.0, 0.5, 20)
    assert checks.difference.high is not None
    assert checks.difference.high < 0
    assert compare_runs(before, after).verdict == "worse"


def test_one_lost_prompt_of_twenty_is_no_difference_yet() -> None:
    before = runs.run(20)
    tags = tuple(
        replace(t, answers=(replace(t.answers[0], ok=False), *t.answers[1:])) for t in before.tags
    )
    found = compare_runs(before, replace(before, tags=tags))
    assert found.verdict == "same"
    assert found.tags[0].lost == ("prompt-0",)


@pytest.mark.parametrize(("kl", "verdict"), [(0.0015, "worse"), (0.00075, "same")])
def test_what_is_within_the_noise_is_no_difference(kl: float, verdict: str) -> None:
    """Q8_0 has a divergence of 0.0005 and a noise of 0.0002 nats; half of its answers change."""
    found = tag_of(runs.run(40), changed(runs.run(40), "Q8_0", kl=kl), "Q8_0")
    figure = next(one for one in found.figures if one.figure == "KL")
    assert figure.noise == 0.0002
    assert figure.verdict == verdict


def test_perplexity_and_speed_are_ratios() -> None:
    after = changed(runs.run(40), "Q8_0", excess_nll=0.201, seconds=0.1)
    figures = {one.figure: one for one in tag_of(runs.run(40), after, "Q8_0").figures}
    assert figures["perplexity"].difference.value == pytest.approx(0.105, abs=0.001)
    assert figures["perplexity"].verdict == "worse"
    assert figures["speed"].difference.value == pytest.approx(2**-0.5 - 1)
    assert figures["speed"].verdict == "worse"


def test_only_what_both_have_is_compared_and_the_rest_is_named() -> None:
    before, after = runs.run(10), runs.run(6, ("Q8_0", "Q2_K"))
    found = compare_runs(before, replace(after, baseline_digest="e" * 64, model="other"))
    assert [tag.quant for tag in found.tags] == ["Q8_0", "Q2_K"]
    assert found.gone == ("F16", "Q6_K", "Q5_K_M", "Q4_K_M")
    assert found.added == ()
    said = " ".join(found.remarks)
    assert "6 prompts are in both; 4 only in the first run, 0 only in the second" in said
    assert "baselines differ" in said
    assert "called differently" in said


def test_runs_with_no_quant_in_common() -> None:
    found = compare_runs(runs.run(3, ("Q8_0",)), runs.run(3, ("Q2_K",)))
    assert (found.tags, found.verdict) == ((), "same")
    assert "no quant is in both runs" in report.comparison_page(found)


def test_it_is_shown_as_a_table_a_document_and_a_page() -> None:
    before, after = runs.run(20), changed(runs.run(20), "Q8_0", ok=False, text='{"id": 0}')
    found = compare_runs(before, after)
    document = report.comparison_document(found)
    assert json.loads(json.dumps(document)) == json.loads(json.dumps(document))
    assert (document["schema"], document["verdict"]) == (1, "worse")
    assert {t["quant"]: t["verdict"] for t in document["tags"]}["Q8_0"] == "worse"
    page = report.comparison_page(found)
    assert "Q8_0 worse" in seen(page).text
    assert "<del>1</del><ins>0</ins>" in page
    hostile = compare_runs(runs.hostile_run(), changed(runs.hostile_run(), "", text="x"))
    assert "script" not in seen(report.comparison_page(hostile)).elements
