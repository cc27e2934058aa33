"""Markers: who changes the tags of a model on a server, said on the server itself.

    deployq-staging/task-api:in-use.3f2a9c1d      there while the push 3f2a9c1d works on the model
    deployq-staging/task-api:q4_k_m.3f2a9c1d      what that push has staged

Whatever address and folder a push comes from, it finds the markers of the others there. Ollama has
no "create, unless it is there", so nobody can take a lock in one step. But if everybody first
raises a marker of their own and then looks for others, then of two at least one sees the other: who
sees one takes its own down again, and waits. That is done twice: first a marker asks, and gives way
to any other; then it says that it is `entered`, and gives way to those that say so, too. So whoever
is inside knows that a marker that only asks will go away.

A marker is written again every few seconds, so its time on the server, by the server's clock, says
when its process last lived. One that is older than `EXPIRES_SECONDS` is dead; so is one whose
process was on this machine and has ended.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from deployq.errors import ConfigError, ServerRefused
from deployq.records import dataclass
from deployq.tags.holders import Holder, has_ended
from deployq.tags.journal import Swap, read_swap, swap_document
from deployq.tags.names import STAGING, TagName, is_marker, marker_name, owner_of, staged_model
from deployq.tags.notes import read_note, write_note
from deployq.tags.records import TagRecord, staged_names
from deployq.tags.server import Server

HEARTBEAT_SECONDS = 15.0
EXPIRES_SECONDS = 120.0


@dataclass(frozen=True)
class Marker:
    """One process at work on a model of a server.

    `doing` is its command, `since` UTC by its own clock, in ISO 8601. `swaps` are the names that
    it is changing, empty where it is not: what such a marker leaves behind is to be put right. One
    that is not `entered` asks whether it may.
    """

    id: str
    model: str
    doing: str
    since: str
    holder: Holder
    swaps: tuple[Swap, ...] = ()
    entered: bool = True

    @property
    def name(self) -> TagName:
        return marker_name(self.model, self.id)

    def __str__(self) -> str:
        """For people: `push by anna@laptop since 2026-11-30 21:03 UTC`."""
        since = self.since[:16].replace("T", " ")
        return f"{self.doing} by {self.holder.who} since {since} UTC"


@dataclass(frozen=True)
class Seen:
    """A marker as a server lists it; `marker` is None where its text can't be read.

    `silent_seconds` is how long ago, by the server's clock, its process last said that it lives.
    """

    id: str
    model: str
    record: TagRecord
    marker: Marker | None
    silent_seconds: float

    @property
    def is_alive(self) -> bool:
        if self.silent_seconds > EXPIRES_SECONDS:
            return False
        return self.marker is None or not has_ended(self.marker.holder)

    @property
    def marker_name(self) -> TagName:
        return TagName.parse(self.record.name)

    @property
    def has_entered(self) -> bool:
        return self.marker is None or self.marker.entered

    def __str__(self) -> str:
        return str(self.marker) if self.marker else f"the process behind {self.record.name}"


def new_id() -> str:
    """What the names of one process's markers and staged tags end in."""
    return secrets.token_hex(4)


def find_markers(server: Server, held: Iterable[TagRecord], model: str | None = None) -> list[Seen]:
    """The markers among the tags of a server, alive or not; of one model, or of all.

    Raises:
        ServerError: the server can't be asked.
    """
    found = [record for record in held if is_marker(record.name) and _is_of(record.name, model)]
    now = server.clock() if found else 0.0
    return [_seen(server, record, now) for record in found]


def raise_marker(server: Server, marker: Marker) -> None:
    """Write a marker, or write it again: from now on everybody sees it.

    Raises:
        ServerError: the server does not take it.
    """
    write_note(server, marker.name, _text(marker))


def is_left_over(server: Server, held: Sequence[TagRecord], model: str) -> bool:
    """Whether a process that ended left staged tags or a marker of a model.

    Raises:
        ServerError: the server can't be asked.
    """
    seen = find_markers(server, held, model)
    alive = {one.id for one in seen if one.is_alive}
    staged = {owner_of(name) for name in staged_names(held, model)}
    return bool((staged | {one.id for one in seen}) - alive)


def age_seconds(record: TagRecord, now: float) -> float:
    """How long ago a tag was written; 0 where the server does not say it.

    Args:
        now: the server's clock, in seconds since 1970.
    """
    try:
        return max(0.0, now - datetime.fromisoformat(record.modified).timestamp())
    except ValueError:
        return 0.0


def _is_of(name: str, model: str | None) -> bool:
    return model is None or name.lower().startswith(f"{STAGING}/{model}:".lower())


def _seen(server: Server, record: TagRecord, now: float) -> Seen:
    owner, model = owner_of(record.name), staged_model(record.name)
    assert owner is not None, "it is a marker's name"
    return Seen(owner, model, record, _read(server, record.name), age_seconds(record, now))


# ---------------------------------------------------------------- the text


def _text(marker: Marker) -> str:
    """What a marker says, to people first."""
    document = {
        "id": marker.id,
        "model": marker.model,
        "doing": marker.doing,
        "since": marker.since,
        "who": marker.holder.who,
        "machine": marker.holder.machine,
        "pid": marker.holder.pid,
        "started": marker.holder.started,
        "entered": marker.entered,
        "swaps": [swap_document(swap) for swap in marker.swaps],
    }
    return (
        f"Not a model: a deployq {marker} (process {marker.holder.pid}) changes the tags of "
        f"{marker.model} and takes this away when it is done.\n{json.dumps(document)}"
    )


def _read(server: Server, name: str) -> Marker | None:
    """What a marker says; None: it is gone by now, or damaged."""
    try:
        return _parse(json.loads(read_note(server, name).partition("\n")[2]))
    except (ConfigError, ServerRefused, ValueError, KeyError, TypeError, AttributeError):
        return None
    except (RecursionError, OverflowError):  # no deployq wrote it
        return None


def _parse(document: Any) -> Marker:
    holder = Holder(
        str(document["who"]),
        str(document["machine"]),
        int(document["pid"]),
        str(document["started"]),
    )
    return Marker(
        str(document["id"]),
        str(document["model"]),
        str(document["doing"]),
        str(document["since"]),
        holder,
        tuple(read_swap(swap) for swap in document["swaps"]),
        document["entered"] is not False,
    )
