"""Putting right what a push left half done: deployq was killed in it, or the server died."""

from __future__ import annotations

from collections.abc import Iterator

from deployq.pipeline.session import Session
from deployq.pipeline.site import Site
from deployq.records import dataclass
from deployq.tags.hold import Hold
from deployq.tags.journal import Entry, Journal, Recorded, Swap, names
from deployq.tags.lockfile import Lockfile
from deployq.tags.markers import Seen, find_markers
from deployq.tags.names import TagName, staging_name
from deployq.tags.records import find_tag
from deployq.tags.registry import Restored, clear_staging, restore, take_away


def journal_of(session: Session) -> Journal:
    """The journal of this user's promotions."""
    return Journal(session.cache_dir / "journal")


def entry_of(
    session: Session,
    site: Site,
    hold: Hold,
    swaps: tuple[Swap, ...] = (),
    recorded: tuple[Recorded, ...] = (),
) -> Entry:
    """What the process of a hold may leave, as it goes into the journal."""
    lockfile, passing = session.lockfile.absolute(), tuple(hold.passing)
    return Entry(hold.id, site.place, hold.model, lockfile, swaps, recorded, passing)


def note_staging(session: Session, site: Site, hold: Hold, tag: TagName) -> None:
    """Note in the journal that a tag is about to be staged.

    A server that dies while it writes a tag leaves one that it does not list: the journal alone
    knows its name then.

    Raises:
        DiskError: it can't be written.
    """
    hold.passing.append(staging_name(tag, hold.id))
    journal_of(session).open(entry_of(session, site, hold))


@dataclass(frozen=True)
class _Left:
    """What one process left: its marker on the server, its journal here, or both."""

    entry: Entry
    seen: Seen | None


def models_left(session: Session, site: Site) -> dict[str, bool]:
    """The models of a server that a process left something of, which the next command finishes.

    The value says whether names may be half changed. What processes of another machine have only
    staged is left to the next push, and to prune.

    Raises:
        ServerError: the server can't be asked.
    """
    found: dict[str, bool] = {}
    for left in _find_left(session, site, None):
        half_changed = bool(left.entry.swaps)
        if half_changed or left.entry.lockfile is not None:
            found[left.entry.model] = half_changed or found.get(left.entry.model, False)
    return found


def finish_left(session: Session, site: Site, hold: Hold) -> None:
    """Finish what was left of a model on a server; the caller holds it.

    Names that were being changed hold again what they held before, unless somebody else gave them
    something since. Where all was done but for the tidying up, they keep what they have. What was
    staged is taken away.

    Raises:
        ServerError: it can't be put right now; the next command tries again.
        LockfileError: the lockfile can't tell whether the promotion was done.
    """
    for left in _find_left(session, site, hold):
        if left.entry.swaps and not _is_done(left.entry, site):
            restored = restore(site.server, left.entry.swaps)
            session.talk(_outcome(left, restored))
            tell_of_others(session, restored, left.entry.model)
        clear_staging(site.server, left.entry.model, left.entry.id)
        passing = {*left.entry.passing, *([left.seen.marker_name] if left.seen else [])}
        held = site.server.tags()
        for name in passing:
            take_away(site.server, name, held)
        journal_of(session).close(left.entry)


def _find_left(session: Session, site: Site, hold: Hold | None) -> Iterator[_Left]:
    """What ended processes left on a server; with a hold, of its model alone."""
    found = find_markers(site.server, site.server.tags(), hold.model if hold else None)
    seen = {one.id: one for one in found if hold is None or one.id != hold.id}
    for entry in journal_of(session).entries():
        asked = hold is None or (entry.id != hold.id and entry.model.lower() == hold.model.lower())
        if asked and (entry.id in seen or entry.place == site.place):
            one = seen.pop(entry.id, None)
            if one is None or not one.is_alive:
                yield _Left(entry, one)
    for one in seen.values():
        if not one.is_alive:
            swaps = one.marker.swaps if one.marker else ()
            yield _Left(Entry(one.id, site.place, one.model, None, swaps), one)


def _outcome(left: _Left, restored: Restored) -> str:
    by = f" ({left.seen.marker})" if left.seen and left.seen.marker else ""
    did = f"an earlier push{by} did not come to its end"
    if not restored.names and (restored.left or restored.lost):
        return f"{did}; nothing was put back"
    what = ", ".join(restored.names) or f"none of {names(left.entry.swaps)} had been changed"
    return f"{did}; put back as before: {what}"


def tell_of_others(session: Session, restored: Restored, model: str) -> None:
    """Name what was not put back, and why."""
    for name, digest in restored.left.items():
        if digest:
            session.talk(
                f"{name} holds sha256:{digest[:12]}, "
                "which somebody else put there since: left as it is"
            )
        else:
            session.talk(f"{name} was taken away by somebody else since: left as it is")
    for name, kept in restored.lost.items():
        session.talk(
            f"{name} can't be put back, as {kept} is gone: deployq push {model} makes it again"
        )


def _is_done(entry: Entry, site: Site) -> bool:
    """Whether the promotion came to its end but for the journal: the lockfile is written last.

    Where that was to say the same as before, or is on another machine, the names tell.
    """
    if entry.lockfile is not None:
        lock = Lockfile.load(entry.lockfile)
        said = [(r, lock.manifest_digest(str(r.name), entry.key)) for r in entry.recorded]
        if any(digest != record.after for record, digest in said):
            return False
        if any(record.before != record.after for record in entry.recorded):
            return True
    held = site.server.tags()
    found = (find_tag(held, swap.name) for swap in entry.swaps)
    return all(
        tag is not None and tag.digest == swap.after
        for tag, swap in zip(found, entry.swaps, strict=True)
    )
