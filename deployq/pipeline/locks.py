"""One deployq at a time changes the tags of a model on a server, whatever machine it runs on.

Two locks, one inside the other: a file of this user's cache, which lets go by itself when a process
ends; and a marker on the server (tags/markers.py), which everybody sees, by whatever address and
from whatever folder or machine they come.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from deployq.addresses import short_address
from deployq.digests import sha256_bytes
from deployq.errors import DiskError, ServerError
from deployq.pipeline.recovery import entry_of, finish_left, journal_of, models_left
from deployq.pipeline.session import Session
from deployq.pipeline.site import Site
from deployq.tags.hold import Hold
from deployq.tags.holders import this_process
from deployq.tags.markers import EXPIRES_SECONDS, Marker, Seen, new_id

_WAIT_SECONDS = 0.5


@contextmanager
def alone(session: Session, site: Site, model: str, doing: str) -> Iterator[Hold]:
    """Waits for whoever changes these tags; nobody else does inside the block.

    What a process that ended left half done is put right first.

    Args:
        model: the model whose tags are changed; two of them don't get in each other's way.
        doing: the command, as others are told of it.

    Raises:
        DiskError: the lock's file can't be written.
        ServerError: the server does not take the marker.
    """
    lock, waiting = _lock(session, site, model), _Waiting(session, site, model)
    while not _acquired(lock, 1):
        session.talk_once(f"waiting for another deployq that changes the tags of {model}")
        waiting.go_on()
    try:
        while (hold := _raised(session, site, model, doing)) is None:
            # At random, as two that wait must not stay in step.
            time.sleep(_WAIT_SECONDS + secrets.randbelow(1000) / 1000)
            waiting.go_on()
        waiting.end()
        with _kept(session, site, hold):
            yield hold
    finally:
        lock.release()


@contextmanager
def alone_now(session: Session, site: Site, model: str, doing: str) -> Iterator[Hold | None]:
    """The same, if nobody else changes these tags right now; else None."""
    lock = _lock(session, site, model)
    if not _acquired(lock, 0):
        yield None
        return
    try:
        hold = _raised(session, site, model, doing, tell=False)
        if hold is None:
            yield None
            return
        with _kept(session, site, hold):
            yield hold
    finally:
        lock.release()


@contextmanager
def announced(session: Session, site: Site, model: str, doing: str) -> Iterator[Hold]:
    """A marker beside those of others: nobody is kept out, but what is staged is seen to be in use.

    Raises:
        ServerError: the server does not take the marker.
    """
    hold = _hold(site, model, doing)
    try:
        journal_of(session).open(entry_of(session, site, hold))
        hold.up(entered=True)
        hold.keep()
        yield hold
    finally:
        _down(session, site, hold)


def recover(session: Session, site: Site) -> None:
    """Put right what processes that ended left half done on a server, before anything else.

    Raises:
        ServerError: it can't be put right now; the next command tries again.
        LockfileError: the lockfile can't tell whether the promotion was done.
    """
    for model, half_changed in models_left(session, site).items():
        try:
            with alone_now(session, site, model, "repair"):
                pass  # it is the first thing that is done there
        except ServerError:
            if half_changed:  # what was only staged can wait
                raise


class _Waiting:
    """Says how long it takes; to be told so is also how Ctrl-C reaches a server's thread."""

    def __init__(self, session: Session, site: Site, model: str) -> None:
        self._progress = session.progress
        self._task = f"wait for {model} on {short_address(site.endpoint.url)}"
        self._since = time.monotonic()
        self._waited = False

    def go_on(self) -> None:
        self._waited = True
        self._progress(self._task, time.monotonic() - self._since, None, "seconds")

    def end(self) -> None:
        if self._waited:
            seconds = time.monotonic() - self._since
            self._progress(self._task, seconds, seconds, "seconds")


# ---------------------------------------------------------------- the marker


def _raised(
    session: Session, site: Site, model: str, doing: str, *, tell: bool = True
) -> Hold | None:
    """A marker that is up, if no other process has one up; else None.

    Ollama writes a manifest in place, so a marker that is just being written again is not listed
    for an instant. It is looked for three times; not all of them fall into such an instant.
    """
    hold = _hold(site, model, doing)
    others = hold.others()
    if not others:
        try:
            journal_of(session).open(entry_of(session, site, hold))
            hold.up(entered=False)
            others = hold.others()
            if not others:
                hold.up(entered=True)
                others = hold.others(entered=True)
        except BaseException:
            _down(session, site, hold)
            raise
        if not others:
            return hold
        _down(session, site, hold)
    if tell:
        session.talk_once(_waiting(site, model, others[0]))
    return None


@contextmanager
def _kept(session: Session, site: Site, hold: Hold) -> Iterator[None]:
    try:
        hold.keep()
        finish_left(session, site, hold)
        yield
    finally:
        _down(session, site, hold)


def _down(session: Session, site: Site, hold: Hold) -> None:
    """Take away what is on the server for a while; where it can't be, the journal remembers it."""
    if hold.lower():
        journal_of(session).close(entry_of(session, site, hold))


def _hold(site: Site, model: str, doing: str) -> Hold:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return Hold(site.server, Marker(new_id(), model, doing, since, this_process()))


def _waiting(site: Site, model: str, other: Seen) -> str:
    return (
        f"waiting: {other} changes the tags of {model} on {site.server.url}; it counts as dead "
        f"after {EXPIRES_SECONDS:.0f} s without a sign of life. Ctrl-C: don't wait"
    )


# ---------------------------------------------------------------- the file


def _lock(session: Session, site: Site, model: str) -> FileLock:
    name = sha256_bytes(f"{site.place} {model.lower()}")[:32]
    return FileLock(session.cache_dir / "locks" / f"{name}.lock")


def _acquired(lock: FileLock, timeout_seconds: float) -> bool:
    """Whether the lock was got in time."""
    try:
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=timeout_seconds)
    except Timeout:
        return False
    except OSError as exc:
        raise DiskError(f"cannot lock {lock.lock_file}: {exc.strerror or exc}") from exc
    return True
