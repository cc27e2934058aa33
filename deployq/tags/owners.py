"""Whose an earlier generation is: said on the server, where the generations are.

    deployq-history/task-api:owners      a note (notes.py): whose each content of its tags is

It is there for as long as the model has generations. A content that it does not know was put there
by hand, or by a deployq that did not say it yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from deployq.errors import ServerRefused
from deployq.records import dataclass
from deployq.tags.names import HISTORY, TagName
from deployq.tags.notes import read_note, write_note
from deployq.tags.records import TagRecord, find_tag
from deployq.tags.server import Server


@dataclass(frozen=True)
class Project:
    """A folder with a deployq.lock. `label` is for people: `task-demo (anna@laptop)`."""

    id: str
    label: str


def owners_name(model: str) -> TagName:
    """The note that says whose the generations of a model are."""
    return TagName(model, "owners", HISTORY)


def read_owners(server: Server, held: Iterable[TagRecord], model: str) -> dict[str, Project]:
    """Whose the contents of a model's tags are, by the digests of their manifests.

    Raises:
        ServerError: the server can't be asked.
    """
    name = owners_name(model)
    if find_tag(held, name) is None:
        return {}
    try:
        document = json.loads(read_note(server, str(name)).partition("\n")[2])
        return {str(digest): _project(value) for digest, value in document.items()}
    except (ServerRefused, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}  # it is gone by now, or damaged


def add_owners(server: Server, model: str, owners: Mapping[str, Project]) -> None:
    """Say whose contents are, beside what is said already; the caller holds the model.

    Raises:
        ServerError: the server does not take it.
    """
    held = server.tags()
    known = read_owners(server, held, model)
    wanted = _still_held({**owners, **known}, held)
    if wanted != known:
        _write(server, model, wanted)


def tidy_owners(server: Server, model: str) -> None:
    """Forget whose the contents are that the server has no longer; the caller holds the model.

    Raises:
        ServerError: the server can't be asked, or refuses.
    """
    held, name = server.tags(), owners_name(model)
    if find_tag(held, name) is None:
        return
    prefix = f"{HISTORY}/{model}:".lower()
    if sum(record.name.lower().startswith(prefix) for record in held) == 1:
        with suppress(ServerRefused):
            server.delete(str(name))
        return
    known = read_owners(server, held, model)
    wanted = _still_held(known, held)
    if wanted != known:
        _write(server, model, wanted)


def _still_held(owners: Mapping[str, Project], held: Iterable[TagRecord]) -> dict[str, Project]:
    digests = {record.digest for record in held}
    return {digest: owner for digest, owner in owners.items() if digest in digests}


def _write(server: Server, model: str, owners: Mapping[str, Project]) -> None:
    document = {
        digest: {"id": owner.id, "label": owner.label} for digest, owner in sorted(owners.items())
    }
    text = f"Not a model: whose the earlier generations of {model} are, for deployq prune."
    write_note(server, owners_name(model), f"{text}\n{json.dumps(document)}")


def _project(value: Any) -> Project:
    return Project(str(value["id"]), str(value["label"]))
