"""Advisory locks on files (flock): the kernel frees them when their holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_POLL_SECONDS = 0.02


def try_lock(path: Path, *, shared: bool = False) -> IO[bytes] | None:
    """An open file that holds the lock until it is closed; None: someone else has it."""
    file = path.open("ab")
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def is_locked(path: Path) -> bool:
    """Does someone hold the lock right now?"""
    file = try_lock(path, shared=True)
    if file is None:
        return True
    file.close()
    return False


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, timeout_seconds: float) -> Iterator[None]:
    """Hold the lock inside the block.

    Raises:
        TimeoutError: it could not be had in time.
    """
    deadline = time.monotonic() + timeout_seconds
    while (file := try_lock(path, shared=shared)) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} is locked by another process")
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        file.close()
