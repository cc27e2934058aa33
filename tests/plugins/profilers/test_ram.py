"""Main memory, and the limits of control groups, on files as the kernel documents them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
from deployq_profilers.ram import Limit, Ram, bounded, cgroup_limit
from hypothesis import given
from hypothesis import strategies as st

GIB = 1 << 30
NO_LIMIT_V1 = "9223372036854771712"


def tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


def test_this_machine_for_real() -> None:
    found = Ram().detect()
    assert found is not None
    assert (found.name, found.kind) == ("this-machine", "ram")
    assert 0 < found.memory_bytes <= psutil.virtual_memory().total
    assert found.available_bytes is not None
    assert 0 <= found.available_bytes <= found.memory_bytes


def test_no_control_groups_at_all(tmp_path: Path) -> None:
    """macOS, or a chroot without /proc."""
    assert cgroup_limit(tmp_path) is None
    found = Ram(tmp_path).detect()
    assert found is not None
    assert (found.memory_bytes, found.source) == (psutil.virtual_memory().total, "psutil")


def test_version_2_in_a_container(tmp_path: Path) -> None:
    """The group's own files stand at the mount; page cache counts as free."""
    tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": f"{8 * GIB}\n",
            "sys/fs/cgroup/memory.current": f"{3 * GIB}\n",
            "sys/fs/cgroup/memory.stat": f"anon 5\nfile 9\ninactive_file {GIB}\n",
        },
    )
    assert cgroup_limit(tmp_path) == Limit(8 * GIB, 2 * GIB)


def test_version_2_the_tightest_of_the_groups_above_counts(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user.slice/job.scope\n",
            "sys/fs/cgroup/user.slice/job.scope/memory.max": "max\n",
            "sys/fs/cgroup/user.slice/memory.max": f"{4 * GIB}\n",
            "sys/fs/cgroup/user.slice/memory.current": "1000\n",
        },
    )
    assert cgroup_limit(tmp_path) == Limit(4 * GIB, 1000)


def test_version_1(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n1:name=systemd:/x\n",
            "sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes": f"{2 * GIB}\n",
            "sys/fs/cgroup/memory/docker/a/memory.usage_in_bytes": f"{GIB}\n",
            "sys/fs/cgroup/memory/docker/a/memory.stat": "total_inactive_file 24\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{NO_LIMIT_V1}\n",
        },
    )
    assert cgroup_limit(tmp_path) == Limit(2 * GIB, GIB - 24)


@pytest.mark.parametrize("limit", [NO_LIMIT_V1, "max", "", "-1"])
def test_no_limit(tmp_path: Path, limit: str) -> None:
    tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": limit,
            "sys/fs/cgroup/memory.max": limit,
        },
    )
    assert cgroup_limit(tmp_path) is None


def test_a_limit_above_the_machine_is_none() -> None:
    assert bounded(16 * GIB, 9 * GIB, Limit(32 * GIB, 0)).source == "psutil"


def test_a_limit_below_it_bounds_both_figures() -> None:
    found = bounded(64 * GIB, 50 * GIB, Limit(8 * GIB, 3 * GIB))
    assert (found.memory_bytes, found.available_bytes) == (8 * GIB, 5 * GIB)
    assert "control group" in found.source


@given(
    st.integers(1, 1 << 50),
    st.integers(0, 1 << 50),
    st.integers(0, 1 << 50),
    st.integers(0, 1 << 51),
)
def test_never_more_than_there_is(total: int, available: int, limit: int, used: int) -> None:
    found = bounded(total, min(available, total), Limit(limit, used))
    assert found.memory_bytes == min(total, limit)
    assert found.available_bytes is not None
    assert 0 <= found.available_bytes <= found.memory_bytes
