"""The names of a set of tags changed together, and the lockfile with them: all, or nothing."""

from __future__ import annotations

from collections.abc import Sequence

from deployq.errors import DeployqError, ServerError
from deployq.pipeline.recovery import journal_of
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.tags.journal import Entry, Recorded, Swap, names
from deployq.tags.lockfile import LockEntry, Lockfile, update
from deployq.tags.registry import promote, restore


def change_names(
    session: Session,
    site: Site,
    model: str,
    swaps: tuple[Swap, ...],
    locked: Sequence[LockEntry],
) -> None:
    """Journal, names, lockfile: in that order, and back again if one of them fails.

    Args:
        model: whose tags they are; the caller holds its lock (locks.py).
        locked: what the lockfile shall say of them; of a name that has none it says nothing.

    Raises:
        DeployqError: every name holds what it held before, or will after the next command.
    """
    recorded = _recorded(session, site, swaps, locked)
    entry = Entry(site.place, model, session.lockfile.absolute(), swaps, recorded)
    unlocked = [(str(record.name), site.key) for record in recorded if record.after is None]
    journal = journal_of(session)
    journal.open(entry)
    try:
        promote(site.server, swaps)
        update(session.lockfile, locked, unlocked, keep=session.config.tags.keep)
    except BaseException as exc:
        try:
            restored = restore(site.server, swaps)
        except ServerError:  # then the journal stays, and the next command does it
            _tell_of_the_next(session, exc, entry)
        else:
            journal.close(entry)
            if not isinstance(exc, DeployqError):  # whose message goes without saying so
                session.talk(f"put back as before: {', '.join(restored.names) or names(swaps)}")
        raise
    journal.close(entry)


def _recorded(
    session: Session, site: Site, swaps: Sequence[Swap], locked: Sequence[LockEntry]
) -> tuple[Recorded, ...]:
    lock, new = Lockfile.load(session.lockfile), Lockfile().merged(locked)
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
