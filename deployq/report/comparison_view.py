"""Two runs held against each other: as a terminal table, as a document, and in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deployq.report.comparison_words import (
    CHANGE_MARKS,
    change_verdict,
    difference_text,
    run_title,
    value_text,
)
from deployq.report.wording import plain
from deployq.types import ChangeVerdict, RunComparison, TagChange

STYLES: dict[ChangeVerdict, str] = {"better": "green", "worse": "red", "same": "dim"}
NAMES_SHOWN = 5


def comparison_view(found: RunComparison) -> RenderableType:
    """A table per tag, worst first in words."""
    title = Text.assemble(
        (f"{CHANGE_MARKS[found.verdict]} ", STYLES[found.verdict]),
        (plain(found.after.model), "bold"),
        f": {change_verdict(found)}",
    )
    runs = Text(f"{run_title(found.before)} → {run_title(found.after)}", style="dim")
    parts: list[RenderableType] = [title, runs]
    for tag in found.tags:
        parts += ["", *_tag(tag)]
    if found.tags:
        said = "[ ]: intervals over the prompts in both; same: zero is inside, or within the noise"
        parts += ["", Text(said, style="dim")]
    return Group(*parts, *(Text(f"! {plain(r)}", style="yellow") for r in found.remarks))


def comparison_document(found: RunComparison) -> dict[str, Any]:
    """What `deployq compare --json` prints."""
    return {
        "schema": 1,
        "kind": "comparison",
        "verdict": found.verdict,
        "before": _run(found, "before"),
        "after": _run(found, "after"),
        "tags": [
            {**dataclasses.asdict(tag), "figures": [_rounded(f) for f in _figures(tag)]}
            for tag in found.tags
        ],
        "gone": list(found.gone),
        "added": list(found.added),
        "remarks": list(found.remarks),
    }


def _run(found: RunComparison, side: str) -> dict[str, Any]:
    run = found.before if side == "before" else found.after
    return {"run": run.name, "kind": run.kind, "model": run.model, "started": run.started}


def _figures(tag: TagChange) -> list[dict[str, Any]]:
    return [dataclasses.asdict(figure) for figure in tag.figures]


def _rounded(figure: dict[str, Any]) -> dict[str, Any]:
    """Six digits are more than there is to any of it."""
    return {
        key: _rounded(value)
        if isinstance(value, dict)
        else round(value, 6)
        if isinstance(value, float)
        else value
        for key, value in figure.items()
    }


def _tag(tag: TagChange) -> Iterator[RenderableType]:
    mark = (f"{CHANGE_MARKS[tag.verdict]} ", STYLES[tag.verdict])
    yield Text.assemble(mark, (plain(tag.quant), "bold"), f" {tag.verdict}")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for number in range(5):
        table.add_column(justify="right" if number in (1, 2) else "left", no_wrap=number < 4)
    for one in tag.figures:
        verdict = Text(one.verdict, style=STYLES[one.verdict])
        values = (value_text(one, one.before), value_text(one, one.after))
        table.add_row(f"  {one.figure}", *values, difference_text(one), verdict)
    yield table
    for name, prompts in (("lost", tag.lost), ("gained", tag.gained)):
        if prompts:
            more = f", and {len(prompts) - NAMES_SHOWN} more" if len(prompts) > NAMES_SHOWN else ""
            yield Text(f"  {name}: {', '.join(map(plain, prompts[:NAMES_SHOWN]))}{more}")
