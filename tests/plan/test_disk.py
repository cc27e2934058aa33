"""The disk plan counts what isn't there yet and each server's copy, per file system."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployq.errors import DiskError
from deployq.plan.disk import Place, ServerStore, disk_plan, require_room
from deployq.types import DiskStep, QuantSize

Q8, Q4 = QuantSize("Q8_0", 800, 8.5), QuantSize("Q4_K_M", 450, 4.8)
HERE = Place(10_000, Path("cache"), 1)
SAME = ServerStore("the server", Place(10_000, Path("models"), 1))
OTHER = ServerStore("the server", Place(700, Path("models"), 2))


def test_artifacts_and_the_server_s_copies() -> None:
    plan = disk_plan({SAME: [Q8, Q4]}, HERE)
    assert plan.steps == (
        DiskStep("artifact Q8_0", 800, "artifacts"),
        DiskStep("artifact Q4_K_M", 450, "artifacts"),
        DiskStep("copy of Q8_0 in the server", 800, "the server"),
        DiskStep("copy of Q4_K_M in the server", 450, "the server"),
    )
    assert (plan.needed_bytes, plan.free_bytes, plan.enough) == (2500, 10_000, True)
    assert [(f.name, f.needed_bytes) for f in plan.filesystems] == [
        ("artifacts and the server", 2500)
    ]


def test_two_file_systems_are_held_against_their_own_room() -> None:
    plan = disk_plan({OTHER: [Q8, Q4]}, HERE)
    assert [(f.name, f.needed_bytes, f.free_bytes) for f in plan.filesystems] == [
        ("artifacts", 1250, 10_000),
        ("the server", 1250, 700),
    ]
    assert not plan.enough
    with pytest.raises(DiskError, match=r"the server \(models\) need up to .*550 B too little"):
        require_room(plan)


def test_each_quant_is_built_once_for_all_servers() -> None:
    there = ServerStore("Ollama elsewhere", None)
    plan = disk_plan({SAME: [Q8], there: [Q8, Q4]}, HERE)
    assert [step.what for step in plan.steps if step.where == "artifacts"] == [
        "artifact Q8_0",
        "artifact Q4_K_M",
    ]
    # what another machine's disk takes is said, but not counted here
    assert sum(step.needed_bytes for step in plan.steps if step.where == there.name) == 1250
    assert plan.needed_bytes == 1250 + 800


def test_cached_artifacts_cost_nothing_more() -> None:
    assert disk_plan({SAME: [Q8, Q4]}, HERE, cached={"Q8_0"}).needed_bytes == 450 + 1250


def test_linked_artifacts_are_there_once() -> None:
    links = ServerStore("the server", SAME.place, links=True)
    assert disk_plan({links: [Q8, Q4]}, HERE).needed_bytes == 1250


def test_nothing_to_build() -> None:
    plan = disk_plan({SAME: []}, Place(5))
    assert (plan.needed_bytes, plan.steps, plan.enough) == (0, (), True)
    require_room(plan)
