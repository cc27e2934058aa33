"""Plans as people read them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployq.report.plan_view import plan_view
from deployq.types import DiskPlan, Memory, TargetPlan
from tests.report import samples
from tests.report.conftest import Golden, rendered


@pytest.mark.parametrize("width", [80, 140])
def test_plan_reads_as_it_should(golden: Golden, width: int) -> None:
    golden("plan", plan_view(samples.PLAN), width)


@pytest.mark.parametrize("width", [80, 140])
def test_no_row_is_wrapped(width: int) -> None:
    lines = rendered(plan_view(samples.PLAN), width).splitlines()
    rows = [line for line in lines if " fits  " in line or " tight  " in line or " no  " in line]
    assert len(rows) == 3 * len(samples.SIZES)
    assert all("to spare" in row or "too much" in row for row in rows)


def test_rows_stand_largest_first_and_the_chosen_one_is_marked() -> None:
    plan = replace(samples.PLAN, targets=samples.PLAN.targets[:1])
    lines = rendered(plan_view(plan), 80).splitlines()
    quants = [line[3:].split()[0] for line in lines if "GiB  " in line and "fits?" not in line]
    assert quants == ["F16", "Q8_0", "Q6_K", "Q5_K_M*", "Q4_K_M"]
    marked = [line for line in lines if line.startswith("►  Q4_K_M  ")]
    assert len(marked) == 1


def test_overheads_that_differ_are_not_stated_as_one() -> None:
    first = samples.PLAN.targets[0]
    odd = replace(first.candidates[0], memory=Memory(1, 2, 3))
    target = replace(first, candidates=(odd, *first.candidates[1:]))
    plan = replace(samples.PLAN, targets=(target,))
    assert "1.0 GiB KV cache" in rendered(plan_view(samples.PLAN), 80)
    assert "KV cache" not in rendered(plan_view(plan), 80)


def test_too_little_disk_is_marked() -> None:
    plan = replace(samples.PLAN, disk=DiskPlan(2 * 10**9, 10**9, ()))
    assert "✗  disk: needs 1.9 GiB of 953.7 MiB free" in rendered(plan_view(plan), 80)


def test_a_target_without_candidates_says_why() -> None:
    target = TargetPlan(
        samples.WATCH, (), None, "no quant can be made of weights that are Q4_0", ()
    )
    text = rendered(plan_view(replace(samples.PLAN, targets=(target,))), 80)
    assert "✗  no quant can be made of weights that are Q4_0" in text


def test_foreign_names_cannot_steer_the_terminal() -> None:
    plan = replace(samples.PLAN, model="\x1b[2J[red]evil")
    assert rendered(plan_view(plan), 80).startswith("\\x1b[2J[red]evil  llama")
