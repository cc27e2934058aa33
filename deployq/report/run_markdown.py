"""A run as Markdown, fit for a step summary or a pull request."""

from __future__ import annotations

from collections.abc import Iterator

from deployq.report.page_tables import figures
from deployq.report.page_verdict import headline
from deployq.report.plan_markdown import escaped
from deployq.report.wording import BAD, CHOSEN, GOOD, NOTHING, one_line
from deployq.types import Run, RunTag, RunTarget

FAILURES_SHOWN = 20
TEXT_CHARACTERS = 200
MARKS = {"good": GOOD, "warn": "!", "bad": BAD, "unknown": NOTHING}


def run_markdown(run: Run) -> str:
    """Verdict, targets, figures, and what each tag failed."""
    return "\n".join(_lines(run)) + "\n"


def _lines(run: Run) -> Iterator[str]:
    found = headline(run)
    yield f"# {MARKS[found.standing]} {escaped(run.model)}: {escaped(found.verdict)}"
    yield ""
    yield escaped(found.because)
    if run.targets:
        yield ""
        yield from map(_target, run.targets)
    if run.tags:
        yield ""
        yield from _table(run)
    said = [f"- **{tag.quant}**: {escaped(tag.why)}" for tag in run.tags if tag.why]
    said += [f"- {escaped(remark)}" for remark in run.remarks]
    if said:
        yield ""
        yield from said
    for tag in run.tags:
        yield from _failures(tag)
    yield ""
    yield from (f"- {escaped(name)}: {escaped(value)}" for name, value in run.facts)


def _target(target: RunTarget) -> str:
    took = f"{CHOSEN} {target.chosen}" if target.chosen else f"{BAD} nothing"
    why = f" ({escaped(target.reason)})" if target.reason else ""
    return f"- **{escaped(target.name)}**: {took}{why}"


def _table(run: Run) -> Iterator[str]:
    table = figures(run)
    yield f"| quant | {' | '.join(escaped(column.name) for column in table.columns)} | |"
    yield f"|---|{'---:|' * len(table.columns)}---|"
    for row in table.rows:
        cells = [
            f"{figure.value} [{figure.interval}]" if figure.interval else figure.value
            for figure in row.figures
        ]
        mark = MARKS[row.tag.standing]
        yield f"| {escaped(row.tag.quant)} | {' | '.join(map(escaped, cells))} | {mark} |"


def _failures(tag: RunTag) -> Iterator[str]:
    failed = [answer for answer in tag.answers if not answer.ok]
    if not failed:
        return
    yield ""
    yield "<details>"
    yield f"<summary>{escaped(tag.tag)}: {len(failed)} of {len(tag.answers)} failed</summary>"
    yield ""
    yield "| prompt | answered | wrong |"
    yield "|---|---|---|"
    for answer in failed[:FAILURES_SHOWN]:
        said = NOTHING if answer.text is None else one_line(answer.text, TEXT_CHARACTERS)
        wrong = "; ".join(f"{verdict.check}: {verdict.reason}" for verdict in answer.failed)
        cells = (answer.prompt, said, one_line(wrong, TEXT_CHARACTERS))
        yield f"| {' | '.join(map(escaped, cells))} |"
    if len(failed) > FAILURES_SHOWN:
        yield ""
        yield f"and {len(failed) - FAILURES_SHOWN} more"
    yield ""
    yield "</details>"
