"""Generations of a tag, their differences, and the state of all tags, for the terminal."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deployq.report.documents import SCHEMA, Document
from deployq.report.wording import CHOSEN, NOTHING, plain
from deployq.types import Generation, TagDifference, TagState, TagStatus
from deployq.units import format_bytes

_MARKS: dict[TagState, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "drifted": ("drifted", "yellow"),
    "damaged": ("damaged", "red"),
    "lost": ("lost", "red"),
    "unknown": ("unknown", "dim"),
    "unreachable": ("not reached", "red"),
}


def history_document(generations: Sequence[Generation]) -> Document:
    """What `deployq history --json` prints."""
    return {"schema": SCHEMA, "generations": [dataclasses.asdict(g) for g in generations]}


def history_table(generations: Sequence[Generation]) -> Table:
    """A line for each content of a tag, the newest first; an arrow at the present one."""
    table = _table()
    table.add_column("", width=1)
    table.add_column("generation", justify="right", no_wrap=True)
    for column in ("quant", "size", "context", "checks"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("source", no_wrap=True)
    table.add_column("pushed", no_wrap=True)
    for one in generations:
        table.add_row(
            CHOSEN if one.current else "",
            str(one.number),
            one.quant or NOTHING,
            format_bytes(one.size_bytes),
            str(one.n_ctx or NOTHING),
            f"{one.passed}/{one.total}" if one.total else NOTHING,
            (one.source_digest or NOTHING)[:12],
            when_text(one.pushed_at) if one.pushed_at else "not by deployq here",
        )
    return table


def when_text(at: str) -> str:
    """A moment of a lockfile, in this machine's time and to the minute; another text as it is."""
    try:
        moment = dt.datetime.fromisoformat(at)
    except ValueError:
        return plain(at)
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")


def difference_document(difference: TagDifference) -> Document:
    """What `deployq diff --json` prints."""
    return {
        "schema": SCHEMA,
        "one": difference.one,
        "other": difference.other,
        "same": difference.same,
        "facts": {name: [one, other] for name, one, other in difference.facts},
        "modelfile": list(difference.modelfile),
    }


def difference_view(difference: TagDifference) -> RenderableType:
    """What differs, old beside new; then the Modelfiles as a unified diff."""
    if difference.same:
        return Text(f"{difference.one} and {difference.other} are the same")
    table = _table()
    table.add_column("", no_wrap=True)
    table.add_column(plain(difference.one), overflow="fold")
    table.add_column(plain(difference.other), overflow="fold")
    for name, one, other in difference.facts:
        table.add_row(name, plain(one), plain(other))
    parts: list[RenderableType] = [table] if difference.facts else []
    if difference.modelfile:
        parts += [*([""] if parts else []), *map(_diff_line, difference.modelfile)]
    return Group(*parts)


def _diff_line(line: str) -> Text:
    style = {"+": "green", "-": "red", "@": "dim"}.get(line[:1], "")
    return Text(plain(line), style=style)


def status_document(statuses: Sequence[TagStatus]) -> Document:
    """What `deployq status --json` and `verify --locked --json` print."""
    return {
        "schema": SCHEMA,
        "ok": all(status.ok for status in statuses),
        "tags": [dataclasses.asdict(status) for status in statuses],
    }


def status_view(statuses: Sequence[TagStatus]) -> RenderableType:
    """A line for each tag; below, what changed since it was pushed."""
    table, reasons = _table(), Table.grid(padding=(0, 2, 0, 0))
    table.add_column("tag", overflow="fold")
    table.add_column("quant", no_wrap=True)
    table.add_column("server", overflow="fold")
    table.add_column("state", no_wrap=True)
    for status in statuses:
        word, style = _MARKS[status.state]
        alias = f" → {status.alias_of}" if status.alias_of else ""
        table.add_row(
            plain(status.tag + alias),
            status.quant or NOTHING,
            plain(status.host),
            Text(word, style=style),
        )
        if status.reasons:
            reasons.add_row(Text(plain(status.tag), style), plain("; ".join(status.reasons)))
    return Group(table, "", reasons) if reasons.row_count else table
