"""Which lockfiles share this cache: an artifact that any of them names is in use.

    <cache>/projects/<digest of the path>.json      one lockfile's path

It is noted with a push, so that `prune` in one project takes nothing from another. Of what is on a
server, the lockfile and the server itself say whose it is (tags/owners.py).
"""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from deployq.digests import sha256_bytes
from deployq.errors import LockfileError
from deployq.pipeline.session import Session
from deployq.tags.holders import this_process
from deployq.tags.lockfile import LockEntry, Lockfile
from deployq.tags.owners import Project


def remember_project(session: Session) -> None:
    """Note that this session's lockfile names artifacts of its cache."""
    path = str(session.lockfile.absolute())
    entry = _folder(session) / f"{sha256_bytes(path)[:32]}.json"
    if entry.exists():
        return
    with contextlib.suppress(OSError):  # a cache that can't be written is complained of elsewhere
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.write_text(json.dumps({"lockfile": path}), encoding="utf-8")


def lock_entries(session: Session) -> tuple[list[LockEntry], list[str]]:
    """Every entry of the lockfiles that share this cache; and which of them can't be read.

    Raises:
        LockfileError: this session's own can't be read.
    """
    entries = list(_all(Lockfile.load(session.lockfile)))
    broken = []
    for path in sorted(_remembered(session) - {session.lockfile.absolute()}):
        try:
            entries += _all(Lockfile.load(path))
        except LockfileError as exc:
            broken.append(f"{path}: {exc.message}")
    return entries, broken


def this_project(session: Session) -> Project:
    """The project of this session, as servers are told of it."""
    path = session.lockfile.absolute()
    found = sha256_bytes(f"{platform.node()} {path}")[:16]
    return Project(found, f"{path.parent.name or 'deployq'} ({this_process().who})")


def is_mine(
    session: Session, lock: Lockfile, owners: Mapping[str, Project]
) -> Callable[[str, str], bool]:
    """Tells whether a content of a tag, by name and manifest digest, is this project's.

    It is if the lockfile knows it, which all clones of a project share, or if the server says so.

    Args:
        owners: of the model's contents, as the server says it.
    """
    me = this_project(session).id

    def mine(tag: str, digest: str) -> bool:
        owner = owners.get(digest)
        return digest in lock.contents(tag) or (owner is not None and owner.id == me)

    return mine


def _all(lock: Lockfile) -> Iterator[LockEntry]:
    """The present entries and the earlier ones, which a rollback would bring back."""
    yield from lock.entries.values()
    for earlier in lock.earlier.values():
        yield from earlier


def _remembered(session: Session) -> set[Path]:
    found = set()
    for entry in _folder(session).glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found.add(Path(json.loads(entry.read_text(encoding="utf-8"))["lockfile"]))
    return found


def _folder(session: Session) -> Path:
    return session.cache_dir / "projects"
