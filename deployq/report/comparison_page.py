"""Two runs held against each other as one HTML file."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from deployq.records import dataclass
from deployq.report.comparison_words import (
    change_verdict,
    difference_text,
    run_title,
    value_text,
)
from deployq.report.page import LIMITS, MOST_BYTES, render
from deployq.report.page_matrix import Said, answered
from deployq.types import RunAnswer, RunComparison, TagChange, Verdict


@dataclass(frozen=True)
class Rewritten:
    """A prompt that a tag answers otherwise than before."""

    name: str
    outcome: str
    before: Said
    after: Said


def comparison_page(found: RunComparison) -> str:
    """The page: verdict, a table per tag, and the answers that changed."""
    for limit in LIMITS:
        html = render(
            "compare.html.j2",
            {
                "found": found,
                "verdict": change_verdict(found),
                "runs": (run_title(found.before), run_title(found.after)),
                "tags": [(tag, list(_rewritten(found, tag, limit))) for tag in found.tags],
                "value_text": value_text,
                "difference_text": difference_text,
            },
        )
        if len(html.encode()) <= MOST_BYTES:
            break
    return html


def _rewritten(found: RunComparison, tag: TagChange, limit: int) -> Iterator[Rewritten]:
    """Lost ones first, then gained ones, then the rest."""
    old, new = (
        {one.prompt: one for t in run.tags if t.quant == tag.quant for one in t.answers}
        for run in (found.before, found.after)
    )
    changed = dict.fromkeys((*tag.lost, *tag.gained, *tag.rewritten))
    for name in changed:
        outcome = "lost" if name in tag.lost else "gained" if name in tag.gained else "differs"
        before = _said("before", old[name], None, limit)
        yield Rewritten(name, outcome, before, _said("after", new[name], old[name].text, limit))


def _said(who: str, answer: RunAnswer, reference: str | None, limit: int) -> Said:
    html, note = answered(answer.text, reference, limit)
    failed: tuple[Verdict, ...] = () if answer.ok else answer.failed
    return Said((who,), answer.ok, html or Markup(""), note, failed)
