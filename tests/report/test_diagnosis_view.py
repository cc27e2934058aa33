"""A diagnosis as people and programs read it."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from deployq import report
from deployq.types import (
    Answer,
    Clue,
    Diagnosis,
    Prompt,
    PromptResult,
    Ruling,
    Rung,
    Verdict,
)


def result(name: str, text: str, ok: bool) -> PromptResult:
    answer = Answer(text, "stop", 10, 5, 1.0, 0.0, 1.0)
    return PromptResult(Prompt(name, ()), answer, (Verdict("equals", ok, "" if ok else "other"),))


FOUND = Diagnosis(
    tag="m:q2_k",
    host="http://h",
    quant="Q2_K",
    suite="short",
    asked=4,
    failed=1,
    rungs=(
        Rung("tag", "the tag as it is", (result("a", "no\x1b[2J", False), result("b", "", True))),
        Rung("template", "with the model's own", skipped="the very same prompts"),
        Rung("full precision", "in full precision", (result("a", "yes", True),), seconds=1.5),
    ),
    evidence=(
        Clue("weights", "all tensors fit", proven=True),
        Clue("prompt", "it is odd", "template", proven=True),
    ),
    ruling=Ruling("quantization", "certain", {"a": "quantization"}),
    sentence="Q2_K is too low.",
    mend="deployq push m --quants Q4_K_M",
    notes=("1 of the 9 prompts that fail were asked again",),
)


def drawn(found: Diagnosis, width: int = 100) -> str:
    console = Console(width=width, no_color=True, force_terminal=False)
    with console.capture() as capture:
        console.print(report.diagnosis_view(found))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def test_the_verdict_comes_first() -> None:
    lines = drawn(FOUND).splitlines()
    assert lines[0] == "✗ m:q2_k  quantization (certain): 1 of 4 prompts fail"
    assert lines[1] == "  Q2_K is too low."
    assert lines[2] == "  mend: deployq push m --quants Q4_K_M"


def test_rungs_evidence_and_one_prompt_are_shown() -> None:
    shown = drawn(FOUND)
    assert "the tag as it is      1 of 2" in shown
    assert "with the model's own  –       the very same prompts" in shown
    assert "in full precision     1 of 1  1.5 s" in shown
    assert "✓  weights  all tensors fit" in shown
    assert "✗  prompt   it is odd" in shown
    assert "✗ no\\x1b[2J" in shown
    assert "\x1b" not in shown


def test_nothing_wrong_is_one_line_and_its_evidence() -> None:
    good = replace(
        FOUND,
        failed=0,
        ruling=Ruling("nothing wrong", "certain"),
        mend="",
        rungs=FOUND.rungs[:1],
        notes=(),
    )
    shown = drawn(good)
    assert shown.startswith("✓ m:q2_k  nothing wrong: 0 of 4 prompts fail")
    assert "mend" not in shown
    assert "asked" not in shown


def test_it_fits_a_narrow_terminal() -> None:
    assert max(map(len, drawn(FOUND, 60).splitlines())) <= 60


def test_the_document() -> None:
    document = report.diagnosis_document(FOUND)
    assert (document["schema"], document["cause"], document["confidence"]) == (
        1, "quantization", "certain",
    )  # fmt: skip
    assert document["prompts"] == [{"name": "a", "cause": "quantization"}]
    tag, template, _ = document["rungs"]
    assert tag["prompts"][0]["failures"] == [{"check": "equals", "reason": "other"}]
    assert (template["skipped"], template["prompts"]) == ("the very same prompts", [])
    assert document["evidence"][1]["suspect"] == "template"
