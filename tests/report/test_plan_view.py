"""Plans as people read them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployq.report.judged_view import judged_view
from deployq.report.plan_view import plan_view, remarks_view
from deployq.types import DiskPlan, Memory, TargetPlan
from tests.report import samples
from tests.report.conftest import Golden, rendered


@pytest.mark.parametrize("width", [80, 140])
def test_plan_reads_as_it_should(golden: Golden, width: int) -> None:
    plan = samples.PLAN
    golden("plan", width, plan_view(plan), judged_view(plan.judged), remarks_view(plan))


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_no_row_is_wrapped(width: int) -> None:
    lines = rendered(plan_view(samples.PLAN), width).splitlines()
    rows = [line for line in lines if "✓ fits, " in line or "✗ no, " in line or "~ tight, " in line]
    assert len(rows) == 3 * len(samples.SIZES)
    assert all(row.rstrip("–0123456789 ").endswith(("to spare", "too much")) for row in rows)


@pytest.mark.parametrize(("width", "bars"), [(60, False), (80, True), (140, True)])
def test_a_bar_where_there_is_room_for_one(width: int, bars: bool) -> None:
    rows = [
        line for line in rendered(plan_view(samples.PLAN), width).splitlines() if "✓ fits" in line
    ]
    assert all(("█" in row and "│" in row) is bars for row in rows)


def test_rows_stand_largest_first_and_the_chosen_one_is_marked() -> None:
    plan = replace(samples.PLAN, targets=samples.PLAN.targets[:1])
    lines = rendered(plan_view(plan), 80).splitlines()
    rows = [line for line in lines if "GiB  █" in line]
    assert [row[3:].split()[0] for row in rows] == ["F16", "Q8_0", "Q6_K", "Q5_K_M*", "Q4_K_M"]
    assert [row for row in rows if row.startswith("►")] == [row for row in rows if "Q4_K_M " in row]


def test_overheads_that_differ_are_not_stated_as_one() -> None:
    first = samples.PLAN.targets[0]
    odd = replace(first.candidates[0], memory=Memory(1, 2, 3))
    target = replace(first, candidates=(odd, *first.candidates[1:]))
    plan = replace(samples.PLAN, targets=(target,))
    assert "1.0 GiB KV cache" in rendered(plan_view(samples.PLAN), 80)
    assert "GiB KV cache" not in rendered(plan_view(plan), 80)


def test_too_little_disk_is_marked() -> None:
    text = rendered(plan_view(samples.PLAN), 80)
    assert "✗  disk for Ollama's models: needs 17.7 GiB of 16.8 GiB free" in text
    assert "✓  disk for artifacts: needs" in text
    plan = replace(samples.PLAN, disk=DiskPlan(2 * 10**9, 10**9, ()))
    assert "✗  disk: needs 1.9 GiB of 953.7 MiB free" in rendered(plan_view(plan), 80)


def test_an_upper_bound_is_shown_as_one() -> None:
    plan = replace(samples.PLAN, upper_bound=True)
    rows = [line for line in rendered(plan_view(plan), 80).splitlines() if "✓ fits" in line]
    assert all("≤" in row for row in rows)
    assert "≤" not in rendered(plan_view(samples.PLAN), 80)


def test_a_target_without_candidates_says_why() -> None:
    target = TargetPlan(
        samples.WATCH, (), None, "no quant can be made of weights that are Q4_0", ()
    )
    text = rendered(plan_view(replace(samples.PLAN, targets=(target,))), 80)
    assert "✗  no quant can be made of weights that are Q4_0" in text


def test_foreign_names_cannot_steer_the_terminal() -> None:
    plan = replace(samples.PLAN, model="\x1b[2J[red]evil")
    assert rendered(plan_view(plan), 80).startswith("\\x1b[2J[red]evil  llama")
