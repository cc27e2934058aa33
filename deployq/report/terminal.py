"""The outcome of a push, or of a verification, as a terminal shows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deployq.report.runs import REPORT_NAME
from deployq.report.styles import STATUS_STYLES, fit_text, status_text
from deployq.report.wording import (
    BAD,
    CHOSEN,
    GOOD,
    NOTHING,
    count,
    one_line,
    plain,
    seconds_text,
)
from deployq.types import (
    Fit,
    PromptResult,
    Report,
    Score,
    StepStatus,
    TagReport,
    TargetReport,
    Verification,
)
from deployq.units import format_bytes

FAILURES_SHOWN = 3
TEXT_CHARACTERS = 200
# What stands in the summary's notes; "done" and "unchanged" need no explanation.
NOTED: tuple[StepStatus, ...] = ("failed", "warned", "skipped", "reused")


def push_summary(report: Report, next_commands: Sequence[tuple[str, str]] = ()) -> RenderableType:
    """What became of a push, to be taken in at a glance.

    Args:
        report: the outcome.
        next_commands: commands worth typing now, each with what it is good for.
    """
    parts: list[RenderableType] = []
    tag_width = max((len(tag.tag) for t in report.targets for tag in t.tags), default=0)
    for target in report.targets:
        parts += [*_target(target, _fits(report, target.target), tag_width), ""]
    for verification in _verifications(report):
        if verification.passed < len(verification.results):
            parts += [*_failures(verification, _report_name(report)), ""]
    if notes := list(_notes(report)):
        parts += [*notes, ""]
    parts.append(_outcome(report))
    if next_commands:
        parts += ["", _commands(next_commands)]
    return Group(*parts)


def verification_view(verification: Verification, shown: int = FAILURES_SHOWN) -> RenderableType:
    """How a tag did in a suite, and the first `shown` prompts that failed."""
    ok, speed = verification.ok, verification.tokens_per_second
    line = Text.assemble(
        (GOOD if ok else BAD, "green" if ok else "red"),
        (f" {plain(verification.tag)}", "bold"),
        f"  {_checks(verification)} prompts of {plain(verification.suite)} passed"
        f" in {seconds_text(verification.seconds)}",
        f", {speed:.0f} tokens/s" if speed else "",
    )
    if verification.passed == len(verification.results):
        return line
    return Group(line, "", *_failures(verification, "--json", shown))


# ---------------------------------------------------------------- targets


def _fits(report: Report, target: str) -> Mapping[str, Fit]:
    plans = (plan for plan in report.plan.targets if plan.target.name == target)
    return {c.quant: c.verdict for plan in plans for c in plan.candidates}


def _target(
    target: TargetReport, fits: Mapping[str, Fit], tag_width: int
) -> Iterator[RenderableType]:
    yield Text.assemble(
        (plain(target.target), "bold"), f"  {plain(target.runtime)} at {plain(target.host)}"
    )
    if target.tags:
        yield _tag_table(target, fits, tag_width)
    if target.alias is not None:
        yield _alias_line(target.alias)
    yield from _gate_lines(target)
    every = (*target.tags, *filter(None, [target.alias]))
    failed = [tag for tag in every if tag.status == "failed"]
    # why a tag could not be made or run is told once, for all targets together (_notes)
    if target.reason and not (failed and all(_noted(tag) for tag in failed)):
        mark = BAD if target.exit_code else " "
        style = "red" if target.exit_code else "dim"
        yield _grid([(mark, Text(plain(target.reason)))], style)


def _gate_lines(target: TargetReport) -> Iterator[RenderableType]:
    """What the gate says of the tags that hold, and what it warns of."""
    for verdict in target.gate:
        if verdict.ok:
            warned = [rule.reason for rule in verdict.rules if rule.status == "warn"]
            said = "; ".join(warned or [rule.reason for rule in verdict.rules])
            mark, style = ("!", "yellow") if warned else (GOOD, "dim")
            yield _grid([(mark, Text(f"gate, {verdict.quant}: {plain(said)}"))], style)


def _tag_table(target: TargetReport, fits: Mapping[str, Fit], tag_width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", width=1)
    table.add_column("tag", min_width=min(tag_width, 40), overflow="fold")
    table.add_column("quant", min_width=7, no_wrap=True)
    table.add_column("size", min_width=9, justify="right", no_wrap=True)
    table.add_column("fits?", min_width=7, no_wrap=True)
    table.add_column("checks", min_width=7, justify="right", no_wrap=True)
    table.add_column("tokens/s", justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    served = target.alias.alias_of if target.alias else None
    for tag in target.tags:
        table.add_row(*_tag_row(tag, fits.get(tag.quant), tag.tag == served))
    return table


def _tag_row(tag: TagReport, fit: Fit | None, served: bool) -> tuple[str | Text, ...]:
    score = tag.score
    speed = score.tokens_per_second if score else None
    return (
        CHOSEN if served else "",
        Text(plain(tag.tag), style="bold" if served else ""),
        tag.quant,
        format_bytes(tag.file_bytes),
        fit_text(fit) if fit else NOTHING,
        _checks_text(score) if score else NOTHING,
        f"{speed:.0f}" if speed else NOTHING,
        status_text(tag.status),
    )


def _checks(verification: Verification) -> str:
    return f"{verification.passed}/{len(verification.results)}"


def _checks_text(score: Score) -> Text:
    mark = GOOD if score.ok else BAD
    return Text(f"{mark} {score.passed}/{score.total}", style="green" if score.ok else "red")


def _alias_line(alias: TagReport) -> Text:
    context = f"  context {alias.n_ctx}" if alias.n_ctx else ""
    return Text.assemble(
        f"{CHOSEN}  ",
        (plain(alias.tag), "bold"),
        f" → {plain(alias.alias_of or NOTHING)}{context}  ",
        status_text(alias.status),
    )


# ---------------------------------------------------------------- what failed


def _verifications(report: Report) -> Iterable[Verification]:
    """Each verification once, also where two targets share a server."""
    found = {
        (target.host, tag.tag): tag.verification
        for target in report.targets
        for tag in target.tags
        if tag.verification is not None
    }
    return found.values()


def _report_name(report: Report) -> str:
    return str(report.run_dir / REPORT_NAME) if report.run_dir else REPORT_NAME


def _failures(
    verification: Verification, more_in: str, shown: int = FAILURES_SHOWN
) -> Iterator[RenderableType]:
    failed = [result for result in verification.results if not result.ok]
    total = len(verification.results)
    needed = next(n for n in range(total + 1) if n >= verification.threshold * total)
    enough = f"still enough: {needed} are" if verification.ok else f"{needed} are"
    yield Text(
        f"{plain(verification.tag)}: {count(len(failed), 'prompt')} of {total} failed"
        f" ({enough} needed)",
        style="yellow" if verification.ok else "bold red",
    )
    for result in failed[:shown]:
        yield Text(f"  {BAD} {one_line(result.prompt.name, 70)}", style="red")
        yield Padding(_grid(_failure(result)), (0, 0, 0, 4))
    if len(failed) > shown:
        yield Text(f"  … and {len(failed) - shown} more: see {more_in}", style="dim")


def _failure(result: PromptResult) -> Iterator[tuple[str, Text]]:
    asked = next((m.content for m in reversed(result.prompt.messages) if m.role == "user"), "")
    yield "asked", _text(asked)
    if result.answer is not None:
        empty = Text("(nothing)", style="dim")
        yield "answered", _text(result.answer.text) if result.answer.text else empty
    for verdict in result.verdicts:
        if not verdict.ok:
            yield "wrong", _text(f"{verdict.check}: {verdict.reason}")


def _text(text: str) -> Text:
    return Text(one_line(text, TEXT_CHARACTERS))


# ---------------------------------------------------------------- notes and the end


def _notes(report: Report) -> Iterator[RenderableType]:
    """Tags whose status needs a reason, those of one reason in one line."""
    groups: dict[tuple[StepStatus, str], list[str]] = {}
    for status, reason, name in _reasons(report):
        names = groups.setdefault((status, plain(reason)), [])
        if name not in names:
            names.append(name)
    for status in NOTED:
        for (of, reason), names in groups.items():
            if of == status:
                line = Text.assemble(
                    (plain(", ".join(names)), "bold"), f": {reason}" if reason else ""
                )
                yield _grid([(status, line)], label_style=STATUS_STYLES[status])


def _noted(tag: TagReport) -> bool:
    """Whether a tag's reason stands among the notes: not if its prompts tell more."""
    judged = tag.verification is not None and not tag.verification.ok
    return bool(tag.reason) and not judged


def _reasons(report: Report) -> Iterator[tuple[StepStatus, str, str]]:
    for target in report.targets:
        for tag in (*target.tags, *([target.alias] if target.alias else [])):
            if _noted(tag):
                yield tag.status, tag.reason, tag.tag
            for step in tag.steps:
                if step.status in ("skipped", "warned"):
                    yield step.status, f"{step.step}: {step.detail}", tag.tag


def _outcome(report: Report) -> RenderableType:
    time = seconds_text(report.seconds)
    failed = [target.target for target in report.targets if target.exit_code]
    if failed:
        said = f"failed for {', '.join(failed)} after {time} (exit code {report.exit_code})"
    else:
        said = _success(report, time)
    mark, style = (BAD, "red") if failed else (GOOD, "green")
    rows = [(mark, Text(plain(f"{report.model}: {said}")))]
    if report.run_dir:
        rows.append(("", Text(f"report: {plain(_report_name(report))}", style="dim")))
    return _grid(rows, style)


def _success(report: Report, time: str) -> str:
    every = ((t.host, tag) for t in report.targets for tag in t.tags)
    tags = {(host, tag.tag): tag.status for host, tag in every if tag.status != "skipped"}
    aliases = {(t.host, t.alias.tag): t.alias.status for t in report.targets if t.alias}
    what = f"{count(len(tags), 'tag')} and {count(len(aliases), 'alias')}"
    if tags and {*tags.values(), *aliases.values()} == {"unchanged"}:
        return f"nothing to do, {what} are as they should be ({time})"
    return f"{what} in {time}"


def _commands(commands: Sequence[tuple[str, str]]) -> RenderableType:
    rows = [(f"  {command}", Text(why, style="dim")) for command, why in commands]
    return Group("Next:", _grid(rows, label_style="bold"))


def _grid(rows: Iterable[tuple[str, Text]], style: str = "", label_style: str = "") -> Table:
    """Labelled texts whose further lines stand under their first."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style=label_style or "dim", no_wrap=True)
    grid.add_column()
    for label, text in rows:
        grid.add_row(Text(label), text, style=style)
    return grid
