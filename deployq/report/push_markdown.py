"""A push, or a verification, as Markdown: fit for the step summary of a CI run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from deployq.report.plan_markdown import escaped
from deployq.report.wording import BAD, GOOD, NOTHING, one_line, seconds_text
from deployq.types import PromptResult, Report, TagReport, TargetReport, Verification
from deployq.units import format_bytes

FAILURES_SHOWN = 10
TEXT_CHARACTERS = 200


def push_markdown(report: Report) -> str:
    """What became of a push: a verdict, a table per target, what the gate says, what failed."""
    return "\n".join(_push(report)) + "\n"


def verifications_markdown(found: Iterable[Verification]) -> str:
    """How tags did in their suites, and what failed."""
    verified = list(found)
    lines = ["# Verification", "", "| tag | suite | passed | needed | |", "|---|---|---:|---:|---|"]
    lines += [
        f"| {escaped(one.tag)} | {escaped(one.suite)} | {one.passed} of {len(one.results)} | "
        f"{one.threshold:.0%} | {_mark(one.ok)} |"
        for one in verified
    ]
    for one in verified:
        lines += _failures(one)
    return "\n".join(lines) + "\n"


def _push(report: Report) -> Iterator[str]:
    ok = report.exit_code == 0
    yield f"# {_mark(ok)} {escaped(report.model)}"
    yield ""
    end = "pushed" if ok else f"failed (exit code {report.exit_code})"
    yield f"{end} in {seconds_text(report.seconds)}"
    for target in report.targets:
        yield from _target(target)
    seen: set[str] = set()
    for target in report.targets:
        for tag in target.tags:
            if tag.verification is not None and tag.tag not in seen:
                seen.add(tag.tag)
                yield from _failures(tag.verification)


def _target(target: TargetReport) -> Iterator[str]:
    yield ""
    yield f"## {_mark(not target.exit_code)} {escaped(target.target)}"
    yield ""
    if target.planned:
        yield f"planned {target.planned}, took **{target.chosen}**"
        yield ""
    tags = (*target.tags, *([target.alias] if target.alias else []))
    if tags:
        yield "| tag | quant | size | checks | same token | perplexity | |"
        yield "|---|---|---:|---:|---:|---:|---|"
        yield from map(_row, tags)
        yield ""
    if target.reason:
        yield f"**{escaped(target.reason)}**"
        yield ""
    for verdict in target.gate:
        for rule in verdict.rules:
            yield f"- gate, {verdict.quant}, {rule.status}: {escaped(rule.reason)}"


def _row(tag: TagReport) -> str:
    score = f"{tag.score.passed} of {tag.score.total}" if tag.score else NOTHING
    agreement = tag.quality.agreement if tag.quality else None
    same = f"{agreement.same_top.value:.3f}" if agreement else NOTHING
    rise = f"{agreement.perplexity_ratio.value - 1:+.1%}" if agreement else NOTHING
    cells = (
        escaped(tag.tag),
        tag.quant,
        format_bytes(tag.file_bytes),
        score,
        same,
        rise,
        tag.status,
    )
    return f"| {' | '.join(cells)} |"


def _failures(found: Verification) -> Iterator[str]:
    failed = [result for result in found.results if not result.ok]
    if not failed:
        return
    yield ""
    yield "<details>"
    yield f"<summary>{escaped(found.tag)}: {len(failed)} of {len(found.results)} failed</summary>"
    yield ""
    yield "| prompt | answered | wrong |"
    yield "|---|---|---|"
    yield from (_failure(result) for result in failed[:FAILURES_SHOWN])
    if len(failed) > FAILURES_SHOWN:
        yield ""
        yield f"and {len(failed) - FAILURES_SHOWN} more"
    yield ""
    yield "</details>"


def _failure(result: PromptResult) -> str:
    said = one_line(result.answer.text, TEXT_CHARACTERS) if result.answer else NOTHING
    wrong = "; ".join(f"{v.check}: {v.reason}" for v in result.verdicts if not v.ok)
    cells = (result.prompt.name, said, one_line(wrong, TEXT_CHARACTERS))
    return f"| {' | '.join(map(escaped, cells))} |"


def _mark(ok: bool) -> str:
    return GOOD if ok else BAD
