"""One deployq at a time changes the tags of a model on a server, on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from deployq.digests import sha256_bytes
from deployq.errors import DiskError
from deployq.pipeline.session import Session


@contextmanager
def alone(session: Session, place: str, model: str) -> Iterator[None]:
    """Waits for whoever changes these tags; nobody else does inside the block.

    Args:
        place: the server, `Site.place`.
        model: the model whose tags are changed; two of them don't get in each other's way.

    Raises:
        DiskError: the lock's file can't be written.
    """
    lock = _lock(session, place, model)
    if not _acquired(lock, 1):
        session.talk(f"waiting for another deployq that changes the tags of {model}")
        _acquired(lock, -1)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def alone_now(session: Session, place: str, model: str) -> Iterator[bool]:
    """Whether nobody else changes these tags right now; if so, nobody does inside the block."""
    lock = _lock(session, place, model)
    if not _acquired(lock, 0):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _lock(session: Session, place: str, model: str) -> FileLock:
    name = sha256_bytes(f"{place} {model.lower()}")[:32]
    return FileLock(session.cache_dir / "locks" / f"{name}.lock")


def _acquired(lock: FileLock, timeout_seconds: float) -> bool:
    """Whether the lock was got in time; -1 waits for as long as it takes."""
    try:
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=timeout_seconds)
    except Timeout:
        return False
    except OSError as exc:
        raise DiskError(f"cannot lock {lock.lock_file}: {exc.strerror or exc}") from exc
    return True
