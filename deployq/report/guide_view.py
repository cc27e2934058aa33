"""The lesson's tables beside the planner's own figures: for a terminal, as Markdown, as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deployq.records import dataclass
from deployq.report.wording import FIT_MARKS
from deployq.types import Fit, Guide, GuideChoice, GuideFit, GuideSize
from deployq.units import format_bytes

GB = 10**9
_CLAIMS: dict[Fit, str] = {"fits": "✓", "tight": "✓ tight", "no": "✗"}
_LEFT, _RIGHT = ":--", "--:"


@dataclass(frozen=True)
class _Sheet:
    """One table as texts; a column whose place is in `right` holds figures."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()


def guide_view(guide: Guide) -> RenderableType:
    """All tables, for a terminal of 80 columns."""
    parts: list[RenderableType] = []
    for title, fits in guide.fits.items():
        parts += [Text(title, style="bold"), *_fits_by_machine(fits), ""]
    for sheet in (_sizes_sheet(guide), _choices_sheet(guide)):
        parts += [Text(sheet.title, style="bold"), _table(sheet), ""]
    return Group(*parts[:-1])


def guide_markdown(guide: Guide) -> str:
    """All tables, for docs/guide.md."""
    return "\n".join(line for sheet in _sheets(guide) for line in _markdown(sheet))


def guide_document(guide: Guide) -> dict[str, Any]:
    """What `deployq guide --json` prints; sizes in bytes."""
    return {
        "schema": 1,
        "fits": {title: [_fit_document(fit) for fit in fits] for title, fits in guide.fits.items()},
        "sizes": [
            {
                "quant": size.quant,
                "claimed_bytes": size.claimed_bytes,
                "file_bytes": size.size.file_bytes,
                "claimed_bits_per_weight": size.claimed_bits,
                "bits_per_weight": round(size.size.bits_per_weight, 3),
            }
            for size in guide.sizes
        ],
        "choices": [
            {
                "situation": choice.situation,
                "advised": list(choice.advised),
                "goal": choice.goal,
                "chosen": choice.chosen,
            }
            for choice in guide.choices
        ],
    }


def agrees(fit: GuideFit) -> bool:
    """Whether both say that it fits, or both that it doesn't; "tight" is a way to fit."""
    return (fit.claim == "no") == (fit.candidate.verdict == "no")


def _fit_document(fit: GuideFit) -> dict[str, Any]:
    memory = fit.candidate.memory
    return {
        "machine": fit.machine,
        "model": fit.model,
        "quant": fit.candidate.quant,
        "n_ctx": fit.n_ctx,
        "claim": fit.claim,
        "verdict": fit.candidate.verdict,
        "agrees": agrees(fit),
        "weights_bytes": memory.weights_bytes,
        "kv_cache_bytes": memory.kv_cache_bytes,
        "compute_bytes": memory.compute_bytes,
        "total_bytes": memory.total_bytes,
        "budget_bytes": fit.budget_bytes,
        "why": fit.why,
    }


# ---------------------------------------------------------------- the tables as texts


def _sheets(guide: Guide) -> Iterator[_Sheet]:
    for title, fits in guide.fits.items():
        headings = ("machine", "model", "context", "lesson", "deployq", "needs", "of", "why")
        yield _Sheet(title, headings, tuple(map(_fit_row, fits)), frozenset({2, 5, 6}))
    yield _sizes_sheet(guide)
    yield _choices_sheet(guide)


def _sizes_sheet(guide: Guide) -> _Sheet:
    return _Sheet(
        "The 7B model's files",
        ("quant", "lesson", "exact", "off by", "lesson's bits", "bits per weight"),
        tuple(map(_size_row, guide.sizes)),
        frozenset({1, 2, 3, 4, 5}),
    )


def _choices_sheet(guide: Guide) -> _Sheet:
    return _Sheet(
        "Decision guide",
        ("situation", "lesson", "goal", "takes at best"),
        tuple(map(_choice_row, guide.choices)),
    )


def _fit_row(fit: GuideFit) -> tuple[str, ...]:
    return (
        fit.machine,
        f"{fit.model} {fit.candidate.quant}",
        str(fit.n_ctx),
        _CLAIMS[fit.claim],
        FIT_MARKS[fit.candidate.verdict],
        format_bytes(fit.candidate.memory.total_bytes),
        format_bytes(fit.budget_bytes),
        fit.why,
    )


def _size_row(size: GuideSize) -> tuple[str, ...]:
    claimed, exact = size.claimed_bytes, size.size.file_bytes
    return (
        size.quant,
        f"{claimed / GB:.1f} GB",
        f"{exact / GB:.2f} GB",
        f"{100 * (claimed / exact - 1):+.1f} %",
        f"{size.claimed_bits:g}",
        f"{size.size.bits_per_weight:.2f}",
    )


def _choice_row(choice: GuideChoice) -> tuple[str, ...]:
    return choice.situation, " or ".join(choice.advised), choice.goal, choice.chosen


# ---------------------------------------------------------------- shown


def _fits_by_machine(fits: tuple[GuideFit, ...]) -> Iterator[RenderableType]:
    """A line per machine, its models below it, in columns that stand under each other."""
    for machine, group in groupby(fits, key=lambda fit: fit.machine):
        rows = tuple(group)
        budget = format_bytes(rows[0].budget_bytes)
        yield Text(f"{machine}: {budget} for a model", style="cyan")
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=False)
        for width in (13, 12, 7, 7, 9, None):
            table.add_column(no_wrap=width is not None, width=width)
        for fit in rows:
            _, model, context, claim, verdict, needs, _, why = _fit_row(fit)
            places = (f"  {model}", f"context {context}", claim, verdict, needs, why)
            table.add_row(*places, style=None if agrees(fit) else "yellow")
        yield table
    yield Text("  columns: the lesson's answer, deployq's, what it needs", style="dim")


def _table(sheet: _Sheet) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for place, heading in enumerate(sheet.headings):
        figure = place in sheet.right
        table.add_column(heading, justify="right" if figure else "left", no_wrap=figure)
    for row in sheet.rows:
        table.add_row(*row)
    return table


def _markdown(sheet: _Sheet) -> Iterator[str]:
    yield f"### {sheet.title}"
    yield ""
    yield _line(sheet.headings)
    yield _line(tuple(_RIGHT if n in sheet.right else _LEFT for n in range(len(sheet.headings))))
    yield from map(_line, sheet.rows)
    yield ""


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
