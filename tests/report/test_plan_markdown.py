"""A plan as Markdown."""

from __future__ import annotations

import os
from dataclasses import replace

from deployq.report.plan_markdown import escaped, plan_markdown
from tests.report import samples
from tests.report.conftest import GOLDEN


def test_it_reads_as_it_should() -> None:
    file = GOLDEN / "plan.md"
    text = plan_markdown(samples.PLAN)
    if os.environ.get("DEPLOYQ_UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_every_row_has_as_many_cells_as_its_heading() -> None:
    rows = [line for line in plan_markdown(samples.PLAN).splitlines() if line.startswith("|")]
    widths = [row.replace("\\|", "").count("|") for row in rows]
    per_target = len(samples.SIZES) + 2
    for start in range(0, len(rows), per_target):
        assert len(set(widths[start : start + per_target])) == 1


def test_foreign_text_stays_text() -> None:
    assert escaped("a|b*c`<i>&") == "a\\|b\\*c\\`\\<i\\>&amp;"
    plan = replace(samples.PLAN, model="x\n# y")
    assert "\n# y" not in plan_markdown(plan)
