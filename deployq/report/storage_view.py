"""Artifacts of the cache, and what could go from disks: tables and documents."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from rich.table import Table

from deployq.report.documents import SCHEMA, Document
from deployq.report.wording import NOTHING, plain
from deployq.types import CachedArtifact, HalfBuilt, Leftover, Leftovers, Pruned
from deployq.units import format_bytes

KEY_CHARACTERS = 12
# In the table of artifacts, which has to fit 80 columns.
SHOWN_CHARACTERS = 8
DATE_CHARACTERS = len("2026-11-25")


def prune_document(
    found: Leftovers, chosen: Collection[Leftover], done: Sequence[Pruned]
) -> Document:
    """What `deployq prune --json` prints; `chosen` is what would go, `done` what was tried."""
    outcomes = {id(pruned.item): pruned for pruned in done}
    return {
        "schema": SCHEMA,
        "dry_run": not done,
        "frees_bytes": sum(item.frees_bytes for item in chosen),
        "freed_bytes": sum(pruned.freed_bytes for pruned in done),
        "items": [
            {
                "kind": item.kind,
                "name": item.name,
                "size_bytes": item.size_bytes,
                "frees_bytes": item.frees_bytes,
                "why": item.why,
                "made_here": item.made_here,
                "chosen": item in chosen,
                **_outcome(outcomes.get(id(item))),
            }
            for item in found.items
        ],
        "notes": list(found.notes),
    }


def _outcome(pruned: Pruned | None) -> Document:
    if pruned is None:
        return {"removed": False, "freed_bytes": 0, "problem": None}
    return {
        "removed": not pruned.problem,
        "freed_bytes": pruned.freed_bytes,
        "problem": pruned.problem or None,
    }


def prune_table(found: Leftovers, chosen: Collection[Leftover]) -> Table:
    """A line for each thing, with what it frees; the sum of what would go below."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("what", no_wrap=True)
    table.add_column("name", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("frees", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for item in found.items:
        frees = format_bytes(item.frees_bytes)
        why = item.why if item.made_here else f"{item.why}; not known to be deployq's: --orphans"
        table.add_row(
            item.kind,
            plain(_short(item)),
            format_bytes(item.size_bytes),
            frees if item in chosen else "stays",
            plain(why),
            style="" if item in chosen else "dim",
        )
    total = format_bytes(sum(item.frees_bytes for item in chosen))
    table.add_row(f"{len(chosen)} to remove", "", "", total, "", style="bold")
    return table


def _short(item: Leftover) -> str:
    if item.kind in ("artifact", "half-built artifact", "importance matrix", "text"):
        return item.name[:KEY_CHARACTERS]
    prefix = "sha256-"
    if item.name.startswith(prefix):
        return item.name[: len(prefix) + KEY_CHARACTERS]
    return item.name


def cache_document(
    artifacts: Sequence[CachedArtifact], unfinished: Sequence[HalfBuilt] = ()
) -> Document:
    """What `deployq cache --json` prints."""
    return {
        "schema": SCHEMA,
        "total_bytes": sum(artifact.file_bytes for artifact in artifacts),
        "artifacts": [
            {**dataclasses.asdict(artifact), "tags": list(artifact.tags)} for artifact in artifacts
        ],
        "half_built": [
            {"key": half.key, "bytes": half.n_bytes, "being_made": half.alive}
            for half in unfinished
        ],
    }


def cache_table(artifacts: Sequence[CachedArtifact]) -> Table:
    """A line for each artifact: what it is, what it was made of, what needs it."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("key", "quant"):
        table.add_column(column, no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    for column in ("source", "used"):
        table.add_column(column, no_wrap=True)
    table.add_column("tags", overflow="fold", min_width=8)
    table.add_column("", no_wrap=True)
    for one in artifacts:
        table.add_row(
            one.key[:SHOWN_CHARACTERS],
            one.quant,
            format_bytes(one.file_bytes),
            one.source_digest[:SHOWN_CHARACTERS],
            one.used[:DATE_CHARACTERS],
            "\n".join(map(plain, one.tags)) or NOTHING,
            plain(_state(one)),
            style="red" if one.damaged else "",
        )
    return table


def _state(one: CachedArtifact) -> str:
    if one.damaged:
        return "damaged"
    parts = ["whole"] if one.verified else []
    if one.links:
        parts.append("linked")
    return ", ".join(parts)
