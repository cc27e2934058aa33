"""Prompts x tags: who passes, who answers otherwise, and in which words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from markupsafe import Markup

from deployq.records import dataclass
from deployq.report.page_text import excerpt, visible
from deployq.report.word_diff import Mark, word_diff
from deployq.types import Run, RunAnswer, RunPrompt, RunTag, Verdict

Outcome = Literal["pass", "lost", "fail", "gained", "none"]
MARKS: dict[Outcome, tuple[str, str]] = {
    "pass": ("✓", "passes"),
    "lost": ("✗", "fails; full precision passes"),
    "fail": ("✗", "fails"),
    "gained": ("✓", "passes; full precision fails"),
    "none": ("·", "was not asked"),
}
REASON_CHARACTERS = 400


@dataclass(frozen=True)
class Cell:
    """One tag on one prompt; `same` is None where there is nothing to compare with."""

    outcome: Outcome
    same: bool | None

    @property
    def mark(self) -> str:
        return MARKS[self.outcome][0]

    @property
    def spoken(self) -> str:
        """The cell for a screen reader."""
        said = {True: ", same answer", False: ", another answer"}
        return MARKS[self.outcome][1] + (said[self.same] if self.same is not None else "")


@dataclass(frozen=True)
class Said:
    """One answer, given by one or more tags; `failed` are the checks that it does not meet."""

    who: tuple[str, ...]
    ok: bool
    html: Markup
    note: str = ""
    failed: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class Row:
    """One prompt. `kinds` are classes that the filters of the page look at."""

    number: int
    prompt: RunPrompt
    messages: tuple[tuple[str, Markup], ...]
    baseline: Cell | None
    cells: tuple[Cell, ...]
    answers: tuple[Said, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        outcomes = {cell.outcome for cell in self.cells}
        lost = "lost" in outcomes
        failed = lost or "fail" in outcomes or self.prompt.baseline_ok is False
        differs = any(cell.same is False for cell in self.cells)
        named = (("lost", lost), ("failed", failed), ("differs", differs))
        return tuple(name for name, is_so in named if is_so)


def matrix(run: Run, limit: int) -> tuple[Row, ...]:
    """A row per prompt; texts of at most `limit` characters."""
    answers = [{one.prompt: one for one in tag.answers} for tag in run.tags]
    return tuple(
        _row(number, prompt, run, [found.get(prompt.name) for found in answers], limit)
        for number, prompt in enumerate(run.prompts, 1)
    )


def _row(
    number: int, prompt: RunPrompt, run: Run, given: Sequence[RunAnswer | None], limit: int
) -> Row:
    reference = _reference(prompt, given)
    messages = tuple((m.role, _shortened(m.content, limit)) for m in prompt.messages)
    baseline = None
    if prompt.baseline_ok is not None:
        baseline = Cell("pass" if prompt.baseline_ok else "fail", None)
    cells = tuple(_cell(prompt, one, reference) for one in given)
    said = tuple(_said(run, prompt, given, reference, limit))
    return Row(number, prompt, messages, baseline, cells, said)


def _reference(prompt: RunPrompt, given: Sequence[RunAnswer | None]) -> str | None:
    """What answers are compared with: the baseline's, else that of the largest tag."""
    if prompt.baseline is not None:
        return prompt.baseline
    return next((one.text for one in given if one and one.text is not None), None)


def _cell(prompt: RunPrompt, answer: RunAnswer | None, reference: str | None) -> Cell:
    if answer is None:
        return Cell("none", None)
    comparable = answer.text is not None and reference is not None
    return Cell(_outcome(prompt, answer), answer.text == reference if comparable else None)


def _outcome(prompt: RunPrompt, answer: RunAnswer) -> Outcome:
    if answer.ok:
        return "gained" if prompt.baseline_ok is False else "pass"
    return "lost" if prompt.baseline_ok else "fail"


# ---------------------------------------------------------------- the answers in full


def _said(
    run: Run,
    prompt: RunPrompt,
    given: Sequence[RunAnswer | None],
    reference: str | None,
    limit: int,
) -> Iterator[Said]:
    """Each distinct answer once, the reference first."""
    groups: dict[tuple[str | None, bool], list[tuple[RunTag, RunAnswer]]] = {}
    if prompt.baseline is not None:
        groups[prompt.baseline, bool(prompt.baseline_ok)] = []
    for tag, answer in zip(run.tags, given, strict=True):
        if answer is not None:
            groups.setdefault((answer.text, answer.ok), []).append((tag, answer))
    for (text, ok), members in groups.items():
        full = text == prompt.baseline and ok == bool(prompt.baseline_ok)
        who = [*(["full precision"] if full and prompt.baseline is not None else [])]
        who += [tag.quant for tag, _ in members]
        failed = members[0][1].failed if members and not ok else ()
        html, note = answered(text, reference, limit)
        yield Said(tuple(who), ok, html, note, tuple(_short(v) for v in failed))


def answered(text: str | None, reference: str | None, limit: int) -> tuple[Markup, str]:
    if text is None:
        return Markup(""), "no answer in time"
    if not text:
        return Markup(""), "an empty answer"
    if reference is None or text == reference:
        return _shortened(text, limit), ""
    found = word_diff(reference, text, limit)
    html = Markup("").join(_PARTS[part.mark].format(visible(part.text)) for part in found.parts)
    return _with_rest(html, found.before, found.after), found.said


_PARTS: dict[Mark, Markup] = {
    "same": Markup("{}"),
    "gone": Markup("<del>{}</del>"),
    "new": Markup("<ins>{}</ins>"),
}


def _shortened(text: str, limit: int) -> Markup:
    found = excerpt(text, limit)
    return _with_rest(visible(found.text), found.before, found.after)


def _with_rest(html: Markup, before: int, after: int) -> Markup:
    """The text, with words for what was left out on either side."""
    said = Markup('<i class="cut">{:,} more characters</i>')
    front = said.format(before) + Markup(" ") if before > 0 else Markup("")
    back = Markup(" ") + said.format(after) if after > 0 else Markup("")
    return front + html + back


def _short(verdict: Verdict) -> Verdict:
    reason = verdict.reason
    cut = reason if len(reason) <= REASON_CHARACTERS else f"{reason[: REASON_CHARACTERS - 1]}…"
    return Verdict(verdict.check, verdict.ok, cut)
