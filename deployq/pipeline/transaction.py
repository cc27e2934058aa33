"""The names of a set of tags changed together, and the lockfile with them: all, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from deployq.errors import DeployqError, DiskError, ServerError
from deployq.pipeline.projects import is_mine, this_project
from deployq.pipeline.recovery import entry_of, journal_of, tell_of_others
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.tags.hold import Hold
from deployq.tags.journal import Entry, Recorded, Swap, names
from deployq.tags.lockfile import LockEntry, Lockfile, update
from deployq.tags.names import TagName
from deployq.tags.owners import add_owners, read_owners, tidy_owners
from deployq.tags.registry import forget, promote, restore


def change_names(
    session: Session,
    site: Site,
    hold: Hold,
    swaps: tuple[Swap, ...],
    locked: Sequence[LockEntry],
) -> None:
    """Marker, journal, names, lockfile: in that order, and back again if one of them fails.

    Args:
        hold: of the model whose tags they are (locks.py).
        locked: what the lockfile shall say of them; of a name that has none it says nothing.

    Raises:
        DeployqError: every name holds what it held before, or will after the next command; or
            what somebody else put there meanwhile.
    """
    lock = Lockfile.load(session.lockfile)
    recorded = _recorded(lock, site, swaps, locked)
    entry = entry_of(session, site, hold, swaps, recorded)
    unlocked = [(str(record.name), site.key) for record in recorded if record.after is None]
    journal = journal_of(session)
    hold.begin(swaps)
    try:
        journal.open(entry)
        promote(site.server, swaps)
        update(session.lockfile, locked, unlocked, keep=session.config.tags.keep)
    except BaseException as exc:
        try:
            restored = restore(site.server, swaps)
        except ServerError:  # then marker and journal stay, and the next command does it
            _tell_of_the_next(session, exc, entry)
        else:
            if not isinstance(exc, DeployqError):  # whose message goes without saying so
                none = f"none of {names(swaps)} had been changed"
                session.talk(f"put back as before: {', '.join(restored.names) or none}")
            tell_of_others(session, restored, hold.model)
            _close(session, site, hold, done=False)
        raise
    _close(session, site, hold, done=True)
    with suppress(ServerError):  # then the lockfile alone knows it
        _sign(session, site, hold, lock, swaps)


def _close(session: Session, site: Site, hold: Hold, *, done: bool) -> None:
    """Nothing is half changed any more; the journal is told last, as it alone knows the lockfile.

    Where that can't be said, whoever comes next finds that it is so.
    """
    with suppress(ServerError, DiskError):
        hold.end(done=done)
        journal_of(session).open(entry_of(session, site, hold))


def _sign(session: Session, site: Site, hold: Hold, lock: Lockfile, swaps: Sequence[Swap]) -> None:
    """Say on the server whose the contents are, where something was kept."""
    if not any(swap.kept for swap in swaps):
        return
    me = this_project(session)
    contents = {swap.after for swap in swaps}
    contents |= {s.before for s in swaps if s.before in lock.contents(str(s.name)) and s.before}
    add_owners(site.server, hold.model, dict.fromkeys(contents, me))


def forget_oldest(session: Session, site: Site, lock: Lockfile, tags: Sequence[TagName]) -> None:
    """Let go of the oldest generations of tags of one model, all but those that are kept.

    Args:
        lock: as it was before the tags were changed: what it knows is this project's.

    Raises:
        ServerError: the server can't be asked, or keeps them.
    """
    model = tags[0].model
    mine = is_mine(session, lock, read_owners(site.server, site.server.tags(), model))
    for tag in tags:
        forget(site.server, tag, session.config.tags.keep, partial(mine, str(tag)))
    tidy_owners(site.server, model)


def _recorded(
    lock: Lockfile, site: Site, swaps: Sequence[Swap], locked: Sequence[LockEntry]
) -> tuple[Recorded, ...]:
    new = Lockfile().merged(locked)
    return tuple(
        Recorded(
            swap.name,
            lock.manifest_digest(str(swap.name), site.key),
            new.manifest_digest(str(swap.name), site.key),
        )
        for swap in swaps
    )


def _tell_of_the_next(session: Session, exc: BaseException, entry: Entry) -> None:
    hint = (
        f"{names(entry.swaps)} may be half changed: once the server is back, the next command "
        f"puts them back as they were; then go on with deployq push {entry.model}"
    )
    if isinstance(exc, DeployqError):
        exc.hint = hint
    else:
        session.talk(hint)
