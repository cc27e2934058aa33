"""What removing tags frees, truly: other tags may have the same blobs, artifacts the same files.

Where the server's store is on this machine it is read from the manifests, blob by blob. Elsewhere
it is told by the weights that `show` names and by whole sizes: the few kilobytes of a tag's texts
may then be counted where another tag has them, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from deployq.errors import DiskError, ServerRefused
from deployq.tags.manifests import LocalStore
from deployq.tags.names import same_name
from deployq.tags.records import Shown, TagRecord


class TagServer(Protocol):
    """The part of a server that tells what it holds."""

    def tags(self) -> list[TagRecord]: ...
    def show(self, name: str) -> Shown: ...
    def has_blob(self, digest: str) -> bool: ...


@dataclass(frozen=True)
class Freed:
    """What goes with some tags.

    `linked_bytes` are of files that vanish from the server's store, but that an artifact shares:
    they are freed once that is gone, too. `held_by` are other tags with the same weights.
    """

    freed_bytes: int
    linked_bytes: int = 0
    held_by: tuple[str, ...] = ()


@dataclass
class Links:
    """Counts down the names of files, so that bytes count as freed with the last one alone."""

    left: dict[tuple[int, int], int] = field(default_factory=dict)

    def drop(self, paths: Iterable[Path]) -> Freed:
        """What goes with these names, after all that was dropped before."""
        freed = linked = 0
        for path in paths:
            try:
                found = path.lstat()
            except OSError:
                continue
            inode = (found.st_dev, found.st_ino)
            self.left[inode] = self.left.get(inode, found.st_nlink) - 1
            if self.left[inode]:
                linked += found.st_size
            else:
                freed += found.st_size
        return Freed(freed, linked)


def store_of(
    server: TagServer, models_dir: Path | None, listed: Sequence[TagRecord] | None = None
) -> LocalStore | None:
    """The server's store, if the folder is on this machine and really is that server's.

    It is if it holds the tags that the server lists; one without tags, if the server has a blob
    that lies there.

    Args:
        listed: the server's tags, where they were asked for already.
    """
    if models_dir is None or not (models_dir / "blobs").is_dir():
        return None
    try:
        store, listed = LocalStore.read(models_dir), server.tags() if listed is None else listed
        if store.tags or listed:
            return store if store.is_that_of(listed) else None
        names = (path.name.removeprefix("sha256-") for path in store.unused())
        blobs = [name for name in names if len(name) == 64]
    except DiskError:
        return None
    return store if blobs and server.has_blob(blobs[0]) else None


def freed_by(server: TagServer, models_dir: Path | None, names: Collection[str]) -> Freed:
    """What removing tags would free.

    Raises:
        ServerError: the server can't tell.
    """
    store = store_of(server, models_dir)
    return _told(server, names) if store is None else _read(store, names, Links())


def gone_with(store: LocalStore, names: Collection[str]) -> list[Path]:
    """The blobs that go with these tags: no other one that the server can read has them."""
    mine = {digest for name in names if (held := store.find(name)) for digest in held.blobs}
    return [store.path(digest) for digest in sorted(mine - store.without(names).used)]


def _read(store: LocalStore, names: Collection[str], links: Links) -> Freed:
    freed = links.drop(gone_with(store, names))
    largest = [
        max(held.blobs, key=lambda digest: _size(store.path(digest)))
        for name in names
        if (held := store.find(name)) and held.blobs
    ]
    others = store.without(names).tags
    holders = tuple(held.name for held in others if not held.blobs.isdisjoint(largest))
    return Freed(freed.freed_bytes, freed.linked_bytes, holders)


def _told(server: TagServer, names: Collection[str]) -> Freed:
    """By what `show` says: weights that several of the tags share are counted once."""
    listed = server.tags()
    weights = {tag.name: _weights(server, tag.name) for tag in listed}
    mine = [tag for tag in listed if any(same_name(tag.name, name) for name in names)]
    others = [tag for tag in listed if tag not in mine]
    kept: dict[str, list[str]] = {}
    for tag in others:
        kept.setdefault(weights[tag.name], []).append(tag.name)
    freed: dict[str, int] = {}
    for tag in mine:
        blob = weights[tag.name] or tag.name
        if blob not in kept:
            freed[blob] = max(freed.get(blob, 0), tag.size_bytes)
    holders = dict.fromkeys(n for tag in mine for n in kept.get(weights[tag.name] or "", []))
    return Freed(sum(freed.values()), held_by=tuple(holders))


def _weights(server: TagServer, name: str) -> str:
    try:
        return server.show(name).blob_digest
    except ServerRefused:
        return ""  # a tag that the server can't read keeps no weights alive


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
