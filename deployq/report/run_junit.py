"""A run as JUnit XML: a suite per tag, a case per rule of its gate and per prompt.

Of a recommendation, what was weighed and is not taken fails nothing: it is skipped, and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from deployq.report.junit import Case, document
from deployq.types import Run, RunAnswer, RunTag


def run_junit(run: Run) -> str:
    """What failed, as CI servers read it."""
    suites = [(f"{run.model} on {t.name}", _targets(run, t.name)) for t in run.targets]
    tags = [(tag.tag, [_weighed(run, tag, case) for case in _tag(run, tag)]) for tag in run.tags]
    return document(f"{run.kind} {run.model}", [*suites, *tags])


def _targets(run: Run, name: str) -> list[Case]:
    target = next(one for one in run.targets if one.name == name)
    what = f"takes {target.chosen}" if target.chosen else "takes a quant"
    failure = "" if target.ok else target.reason or "failed"
    return [Case(name, what, failure=failure, detail=target.hint)]


def _weighed(run: Run, tag: RunTag, case: Case) -> Case:
    taken = {target.chosen for target in run.targets}
    if run.kind != "recommendation" or tag.quant in taken or not case.failure:
        return case
    return replace(case, failure="", skipped=f"weighed and not taken: {case.failure}")


def _tag(run: Run, tag: RunTag) -> Iterator[Case]:
    known = {prompt.name: prompt.baseline_ok for prompt in run.prompts}
    if tag.status == "failed":
        yield Case(tag.tag, "deployed", failure=tag.why or "failed")
    for rule in tag.gate:
        bad = rule.reason if rule.status == "fail" else ""
        yield Case(tag.tag, f"gate: {rule.rule}", failure=bad, detail=rule.reason)
    for answer in tag.answers:
        yield _answer(tag, answer, known.get(answer.prompt))


def _answer(tag: RunTag, answer: RunAnswer, baseline_ok: bool | None) -> Case:
    """A prompt; it is no failure where the tag holds all the same, or where the baseline fails."""
    wrong = "; ".join(f"{v.check}: {v.reason}" for v in answer.failed) or "failed"
    said = "(no answer)" if answer.text is None else f"answered: {answer.text}"
    case = Case(tag.tag, answer.prompt, answer.seconds or 0.0, detail=said)
    if answer.ok:
        return case
    if baseline_ok is False:
        why = f"full precision fails it too: {wrong}"
        return Case(case.group, case.name, case.seconds, skipped=why, detail=said)
    if tag.holds or (tag.holds is None and tag.status != "failed"):
        return Case(case.group, case.name, case.seconds, skipped=f"tolerated: {wrong}", detail=said)
    return Case(case.group, case.name, case.seconds, failure=wrong, detail=said)
