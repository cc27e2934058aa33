"""Tags as servers hold them: a table for people, a document for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rich.table import Table

from deployq.report.documents import SCHEMA, Document
from deployq.report.wording import NOTHING
from deployq.types import HeldTag
from deployq.units import format_bytes


def tags_document(tags: Sequence[HeldTag]) -> Document:
    """What `deployq list --json` prints."""
    return {"schema": SCHEMA, "tags": [dataclasses.asdict(tag) for tag in tags]}


def tags_table(tags: Sequence[HeldTag]) -> Table:
    """Tags with their size, checks and speed; an alias says what it stands for."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("tag", overflow="fold")
    for column in ("quant", "size", "context", "checks", "tokens/s"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for tag in tags:
        table.add_row(
            tag.tag,
            tag.quant or NOTHING,
            format_bytes(tag.size_bytes),
            str(tag.n_ctx or NOTHING),
            f"{tag.passed}/{tag.total}" if tag.total else NOTHING,
            f"{tag.tokens_per_second:.0f}" if tag.tokens_per_second else NOTHING,
            _note(tag),
        )
    return table


def _note(tag: HeldTag) -> str:
    if not tag.made_here:
        return "not made by deployq here"
    notes = [f"→ {tag.alias_of}"] if tag.alias_of else []
    if tag.changed:
        notes.append("changed since it was pushed")
    return ", ".join(notes)
