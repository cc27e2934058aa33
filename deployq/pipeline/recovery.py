"""Putting right what a push left half done: deployq was killed in it, or the server died."""

from __future__ import annotations

from pathlib import Path

from deployq.pipeline.locks import alone_now
from deployq.pipeline.session import Session
from deployq.tags.journal import Entry, Journal, names
from deployq.tags.lockfile import Lockfile
from deployq.tags.registry import clear_staging, restore
from deployq.tags.server import Server


def journal_of(session: Session) -> Journal:
    """The journal of this user's promotions."""
    return Journal(session.cache_dir / "journal")


def recover(session: Session, place: str, key: str, server: Server) -> None:
    """Finish what was left open on a server, before anything else is done there.

    Names that were being changed hold again what they held before. Where all was done but for
    the tidying up, they keep what they have. An entry whose process still lives is left alone.

    Args:
        place: the server, as the journal names it.
        key: the server, as the lockfile names it.

    Raises:
        ServerError: it can't be put right now; the next command tries again.
        LockfileError: the lockfile can't tell whether the promotion was done.
    """
    journal = journal_of(session)
    for entry in journal.entries(place):
        with alone_now(session, place, entry.model) as mine:
            if mine:
                _finish(session, key, server, entry)
                journal.close(entry)


def _finish(session: Session, key: str, server: Server, entry: Entry) -> None:
    if _is_done(entry, key):
        clear_staging(server, entry.model)
        return
    put_back = restore(server, entry.swaps)
    clear_staging(server, entry.model)
    what = ", ".join(put_back) or f"none of {names(entry.swaps)} had been changed"
    session.talk(f"an earlier push did not come to its end; put back as before: {what}")


def _is_done(entry: Entry, key: str) -> bool:
    """Whether the lockfile has every new content: it is written last."""
    lock = Lockfile.load(Path(entry.lockfile))
    found = (lock.find(str(swap.name), key) for swap in entry.swaps)
    after = (swap.after for swap in entry.swaps)
    return all(e is not None and e.manifest_digest == d for e, d in zip(found, after, strict=True))
