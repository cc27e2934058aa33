"""The names of a set of tags changed together, and the lockfile with them: all, or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from deployq.errors import ServerError
from deployq.pipeline.recovery import journal_of
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.tags.journal import Entry, Swap
from deployq.tags.lockfile import LockEntry, update
from deployq.tags.registry import promote, restore


def change_names(
    session: Session,
    site: Site,
    model: str,
    swaps: tuple[Swap, ...],
    locked: Iterable[LockEntry],
    unlocked: Iterable[tuple[str, str]] = (),
) -> None:
    """Journal, names, lockfile: in that order, and back again if one of them fails.

    Args:
        model: whose tags they are; the caller holds its lock (locks.py).
        locked: what the lockfile shall say of them.
        unlocked: (tag, host) of those that it shall say nothing of.

    Raises:
        DeployqError: every name holds what it held before, or will after the next command.
    """
    entry = Entry(site.place, model, session.lockfile.absolute(), swaps)
    journal = journal_of(session)
    journal.open(entry)
    try:
        promote(site.server, swaps)
        update(session.lockfile, locked, unlocked, keep=session.config.tags.keep)
    except BaseException:
        with suppress(ServerError):  # then the journal stays, and the next command does it
            restore(site.server, swaps)
            journal.close(entry)
        raise
    journal.close(entry)
