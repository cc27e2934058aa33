"""Main memory of this machine, or what a container leaves of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from deployq import Hardware, Measurement, Progress
from deployq_profilers.bandwidth import read_bandwidth
from deployq_profilers.presets import presets_of

THIS_MACHINE = "this-machine"


class Limit(NamedTuple):
    """A cgroup's memory limit and how much of it can't be given back."""

    limit_bytes: int
    used_bytes: int


@dataclass
class Ram:
    """Main memory (psutil), held against the memory limit of this process's control group.

    Args:
        root: where the file systems /proc and /sys are looked for.
    """

    root: Path = Path("/")
    name: str = THIS_MACHINE

    def detect(self) -> Hardware | None:
        memory = psutil.virtual_memory()
        return bounded(memory.total, memory.available, cgroup_limit(self.root))

    def presets(self) -> Mapping[str, Hardware]:
        return presets_of(self.name)

    def measure(self, progress: Progress) -> Measurement:
        """Bytes per second that all cores together read; takes a few seconds."""
        return read_bandwidth(progress)


def bounded(total_bytes: int, available_bytes: int, limit: Limit | None) -> Hardware:
    """The memory of a machine within a control group's limit."""
    if limit is None or limit.limit_bytes >= total_bytes:
        return Hardware(THIS_MACHINE, "ram", total_bytes, available_bytes, source="psutil")
    left = max(0, limit.limit_bytes - limit.used_bytes)
    return Hardware(
        THIS_MACHINE,
        "ram",
        limit.limit_bytes,
        min(available_bytes, left),
        source="the memory limit of this process's control group",
    )


def cgroup_limit(root: Path) -> Limit | None:
    """The tightest memory limit over this process: its control group's and those above it.

    /proc/self/cgroup names the group, "0::/path" in version 2, "N:memory:/path" in version 1
    (Linux Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst). In a container the
    path may not be there: the mount itself is the group then.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    limits = [limit for line in lines for limit in _limits(root, line)]
    return min(limits, key=lambda limit: limit.limit_bytes, default=None)


def _limits(root: Path, line: str) -> Iterator[Limit]:
    number, _, rest = line.partition(":")
    controllers, _, path = rest.partition(":")
    if number == "0" and not controllers:
        files = ("memory.max", "memory.current", "inactive_file")
        mount = root / "sys/fs/cgroup"
    elif "memory" in controllers.split(","):
        files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        mount = root / "sys/fs/cgroup/memory"
    else:
        return
    group = mount / path.lstrip("/")
    for folder in (group, *group.parents):
        if limit := _limit(folder, *files):
            yield limit
        if folder == mount:
            return


def _limit(folder: Path, limit_file: str, usage_file: str, cache_key: str) -> Limit | None:
    """One group's limit; None where it has none ("max", or in version 1 a huge number)."""
    limit, used = _number(folder / limit_file), _number(folder / usage_file)
    if limit is None or limit >= 1 << 62:
        return None
    return Limit(limit, max(0, (used or 0) - _statistic(folder / "memory.stat", cache_key)))


def _number(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _statistic(file: Path, key: str) -> int:
    """One line of memory.stat: page cache that the kernel gives back on demand."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    values = [line.split()[1] for line in lines if line.split()[:1] == [key]]
    return int(values[0]) if values else 0
