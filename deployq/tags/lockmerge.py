"""Merging two branches' deployq.lock: what either side pushed stays known."""

from __future__ import annotations

from dataclasses import field

from deployq.records import dataclass
from deployq.tags.lockfile import Key, LockEntry, Lockfile

_Side = tuple[LockEntry | None, tuple[LockEntry, ...]]


@dataclass(frozen=True)
class Merged:
    """The lockfile of both sides; `notes` name the tags that both had changed."""

    lockfile: Lockfile
    notes: tuple[str, ...] = field(default_factory=tuple)


def merge_lockfiles(base: Lockfile, ours: Lockfile, theirs: Lockfile) -> Merged:
    """Merge two lockfiles that came from one.

    Tags that one side added, changed or removed are taken from it. Of a tag that both sides pushed
    the later push counts, as that is what the server holds; the other becomes an earlier one. A tag
    that one side removed and the other pushed stays.
    """
    entries: dict[Key, LockEntry] = {}
    earlier: dict[Key, tuple[LockEntry, ...]] = {}
    notes: list[str] = []
    for key in sorted({*ours.entries, *theirs.entries}):
        one, other, was = (_side(lockfile, key) for lockfile in (ours, theirs, base))
        if one in (other, was):
            entry, before = other
        elif other == was:
            entry, before = one
        else:
            entry, before = _later(one, other)
            notes.append(f"{key[0]} on {key[1]}: both sides changed it; the later push counts")
        if entry is not None:
            entries[key] = entry
            earlier |= {key: before} if before else {}
    return Merged(Lockfile(entries, earlier), tuple(notes))


def _side(lockfile: Lockfile, key: Key) -> _Side:
    return lockfile.entries.get(key), lockfile.earlier.get(key, ())


def _later(one: _Side, other: _Side) -> _Side:
    """The later of two pushes of a tag, with all else that was pushed as earlier ones."""
    # UTC in ISO 8601: such times sort as texts.
    present = [entry for entry in (one[0], other[0]) if entry is not None]
    known = sorted(present, key=_pushed_at, reverse=True)
    before = sorted([*known[1:], *one[1], *other[1]], key=_pushed_at, reverse=True)
    contents = {known[0].manifest_digest: known[0]}
    for entry in before:
        contents.setdefault(entry.manifest_digest, entry)
    room = max(len(one[1]), len(other[1]), len(known) - 1)
    return known[0], tuple(contents.values())[1 : room + 1]


def _pushed_at(entry: LockEntry) -> str:
    return entry.pushed_at
