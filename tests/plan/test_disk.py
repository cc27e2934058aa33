"""The disk plan counts what isn't there yet, and the server's copy."""

from __future__ import annotations

from deployq.plan.disk import disk_plan
from deployq.types import DiskStep, QuantSize

Q8, Q4 = QuantSize("Q8_0", 800, 8.5), QuantSize("Q4_K_M", 450, 4.8)


def test_artifacts_and_the_server_s_copies() -> None:
    plan = disk_plan([Q8, Q4], free_bytes=10_000)
    assert plan.steps == (
        DiskStep("artifact Q8_0", 800),
        DiskStep("artifact Q4_K_M", 450),
        DiskStep("server's copy of Q8_0", 800),
        DiskStep("server's copy of Q4_K_M", 450),
    )
    assert (plan.needed_bytes, plan.free_bytes) == (2500, 10_000)


def test_cached_artifacts_cost_nothing_more() -> None:
    assert disk_plan([Q8, Q4], 0, cached={"Q8_0"}).needed_bytes == 450 + 1250


def test_linked_artifacts_are_there_once() -> None:
    assert disk_plan([Q8, Q4], 0, server_copies=False).needed_bytes == 1250


def test_nothing_to_build() -> None:
    plan = disk_plan([], 5)
    assert (plan.needed_bytes, plan.steps) == (0, ())
