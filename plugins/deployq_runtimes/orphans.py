"""Children that would outlive a supervisor killed with SIGKILL: remembered, ended at next start.

A file `children/<pid>` holds the time at which the child was created, so that a stranger who got
the same pid later is left alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import psutil

GRACE_SECONDS = 3.0


def remember(folder: Path, pid: int) -> None:
    """Note a child that was just started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        created = psutil.Process(pid).create_time()
        (folder / "children").mkdir(exist_ok=True)
        (folder / "children" / str(pid)).write_text(repr(created))


def forget(folder: Path, pid: int) -> None:
    """Strike out a child that has ended."""
    (folder / "children" / str(pid)).unlink(missing_ok=True)


def end_orphans(folder: Path) -> None:
    """End the children that an earlier supervisor of this folder left behind."""
    for note in (folder / "children").glob("*"):
        with contextlib.suppress(ValueError, psutil.NoSuchProcess):
            child = psutil.Process(int(note.name))
            if abs(child.create_time() - float(note.read_text())) < 0.1:
                _end(child)
        note.unlink(missing_ok=True)


def _end(child: psutil.Process) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, sign)
        with contextlib.suppress(psutil.TimeoutExpired):
            child.wait(GRACE_SECONDS)
            return
