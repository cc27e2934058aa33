"""What a push puts on a server for a while, and which names it changes: on disk before it does.

    <folder>/<id>.json     there while the push works on the model; removed when all is done

The server has the same in the marker of that id (markers.py), for everybody who comes by; here is
what concerns this machine alone, the lockfile. A file whose process is gone belongs to a push, or
to a server, that died in between: the names in it are put back to what they held before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deployq.errors import DiskError
from deployq.files import write_whole
from deployq.records import dataclass
from deployq.tags.lockfile import server_name
from deployq.tags.names import TagName

SCHEMA = 1


@dataclass(frozen=True)
class Swap:
    """One name's change.

    `source` is the name that holds the new content, with the manifest digest `after`. `before`
    is the digest of what `name` held (None: it did not exist), `kept` where that is kept.
    """

    name: TagName
    source: TagName
    after: str
    before: str | None = None
    kept: TagName | None = None

    @property
    def backup(self) -> TagName:
        """Who holds what `name` held: the source, if that is the same."""
        return self.kept or self.source


@dataclass(frozen=True)
class Recorded:
    """What the lockfile says of one name, before and after: a manifest digest, or nothing."""

    name: TagName
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Entry:
    """All that one push may leave: on the server at `place`, of one model, recorded where.

    `id` is that of its marker; `swaps` are the names that it is changing, `passing` those that it
    takes away in the end. `lockfile` is None where it is on another machine.
    """

    id: str
    place: str
    model: str
    lockfile: Path | None
    swaps: tuple[Swap, ...] = ()
    recorded: tuple[Recorded, ...] = ()
    passing: tuple[TagName, ...] = ()

    @property
    def key(self) -> str:
        """The server as the lockfile names it."""
        return self.place if "://" in self.place else self.place.partition(" ")[0]


class Journal:
    """The promotions under way, one file each below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, entry: Entry) -> None:
        """Write an entry down; it is on the disk when this returns.

        Raises:
            DiskError: it can't be written; so nothing may be changed.
        """
        text = json.dumps(_document(entry), indent=2)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._path(entry), text)
        except OSError as exc:
            raise DiskError(
                f"the journal {self.folder} can't be written: {exc.strerror or exc}",
                hint="nothing was changed; free some room there and repeat the command",
            ) from exc

    def close(self, entry: Entry) -> None:
        """Everything in it is done, or undone."""
        self._path(entry).unlink(missing_ok=True)

    def entries(self) -> list[Entry]:
        """What was left open, on whatever server."""
        found = (_read(path) for path in sorted(self.folder.glob("*.json")))
        return [entry for entry in found if entry is not None]

    def _path(self, entry: Entry) -> Path:
        return self.folder / f"{entry.id}.json"


def _document(entry: Entry) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "place": entry.place,
        "model": entry.model,
        "lockfile": str(entry.lockfile),
        "swaps": [swap_document(swap) for swap in entry.swaps],
        "recorded": [
            {"name": str(record.name), "before": record.before, "after": record.after}
            for record in entry.recorded
        ],
        "passing": [str(name) for name in entry.passing],
    }


def _read(path: Path) -> Entry | None:
    """An entry; None for a file that is none, which a whole write never leaves."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            return None
        swaps = tuple(read_swap(swap) for swap in document["swaps"])
        recorded = tuple(
            Recorded(TagName.parse(one["name"]), one["before"], one["after"])
            for one in document["recorded"]
        )
        return Entry(
            path.stem,
            server_name(document["place"]),
            document["model"],
            Path(document["lockfile"]),
            swaps,
            recorded,
            tuple(TagName.parse(name) for name in document.get("passing", ())),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def swap_document(swap: Swap) -> dict[str, str | None]:
    """A swap as JSON takes it."""
    return {
        "name": str(swap.name),
        "source": str(swap.source),
        "after": swap.after,
        "before": swap.before,
        "kept": str(swap.kept) if swap.kept else None,
    }


def read_swap(document: dict[str, Any]) -> Swap:
    """A swap from its JSON.

    Raises:
        ConfigError, KeyError, TypeError: it is none.
    """
    kept = document["kept"]
    return Swap(
        name=TagName.parse(document["name"]),
        source=TagName.parse(document["source"]),
        after=document["after"],
        before=document["before"],
        kept=TagName.parse(kept) if kept else None,
    )


def names(swaps: Sequence[Swap]) -> str:
    """The names that are changed, for people."""
    return ", ".join(str(swap.name) for swap in swaps)
