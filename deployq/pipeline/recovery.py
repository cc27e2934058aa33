"""Putting right what a push left half done: deployq was killed in it, or the server died."""

from __future__ import annotations

from deployq.pipeline.locks import alone_now
from deployq.pipeline.session import Session
from deployq.tags.journal import Entry, Journal, names
from deployq.tags.lockfile import Lockfile
from deployq.tags.records import find_tag
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
    if _is_done(entry, key, server):
        clear_staging(server, entry.model)
        return
    restored = restore(server, entry.swaps)
    clear_staging(server, entry.model)
    what = ", ".join(restored.names) or f"none of {names(entry.swaps)} had been changed"
    session.talk(f"an earlier push did not come to its end; put back as before: {what}")
    for name, kept in restored.lost.items():
        session.talk(
            f"{name} can't be put back, as {kept} is gone: deployq push {entry.model} makes it anew"
        )


def _is_done(entry: Entry, key: str, server: Server) -> bool:
    """Whether the promotion came to its end but for the journal: the lockfile is written last.

    Where that was to say the same as before, the names tell.
    """
    lock = Lockfile.load(entry.lockfile)
    if any(lock.manifest_digest(str(r.name), key) != r.after for r in entry.recorded):
        return False
    if any(record.before != record.after for record in entry.recorded):
        return True
    held = server.tags()
    found = (find_tag(held, swap.name) for swap in entry.swaps)
    return all(
        tag is not None and tag.digest == swap.after
        for tag, swap in zip(found, entry.swaps, strict=True)
    )
