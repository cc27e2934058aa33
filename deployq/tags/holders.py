"""The process behind a push: who it is, and whether it has ended, where this machine can tell."""

from __future__ import annotations

import getpass
import os
import platform
import uuid
from contextlib import suppress
from pathlib import Path

from deployq.records import dataclass

_PROC = Path("/proc")
_START_FIELD = 19  # of /proc/PID/stat after the program's name: field 22
_STATE_FIELD = 0


@dataclass(frozen=True)
class Holder:
    """A process on some machine.

    `who` is for people: `anna@laptop`. `machine` is the machine since its last start, and the
    container in it; two processes of one number there differ in `started`, where that is known.
    """

    who: str
    machine: str
    pid: int
    started: str


def this_process() -> Holder:
    """The holder of whatever this process announces."""
    pid = os.getpid()
    return Holder(_who(), _machine(), pid, _started(pid) or "")


def has_ended(holder: Holder) -> bool:
    """Whether it is certain that a process ended; nothing is certain of another machine's."""
    if not holder.machine or holder.machine != _machine():
        return False
    started = _started(holder.pid)
    return started is None or started != holder.started


def _who() -> str:
    user = "somebody"
    with suppress(OSError, KeyError, ImportError):  # a container's user may have no name
        user = getpass.getuser()
    return f"{user}@{platform.node() or 'unknown'}"


def _machine() -> str:
    """The same for processes that see each other's numbers, and different for all others."""
    if os.name == "nt":  # there os.kill ends the process that it asks for
        return ""
    with suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    return f"{platform.node()} {uuid.getnode():x}"


def _started(pid: int) -> str | None:
    """When a process started, "" where that can't be told; None: there is none."""
    if _PROC.joinpath("self/stat").exists():
        try:
            stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = stat.rpartition(")")[2].split()
        return None if fields[_STATE_FIELD] in "ZX" else fields[_START_FIELD]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:  # somebody else's
        return ""
    return ""
