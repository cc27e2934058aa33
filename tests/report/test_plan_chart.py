"""The picture of a plan: well-formed, complete, and unable to do anything."""

from __future__ import annotations

import os
from dataclasses import replace
from xml.etree import ElementTree as ET

from deployq.report.plan_chart import plan_chart
from tests.report import samples
from tests.report.conftest import GOLDEN

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)


def test_it_is_as_it_was_looked_at() -> None:
    file = GOLDEN / "plan-chart.svg"
    text = plan_chart(samples.PLAN)
    if os.environ.get("DEPLOYQ_UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_every_candidate_has_a_bar_and_its_words() -> None:
    root = parsed(plan_chart(samples.PLAN))
    texts = [element.text or "" for element in root.iter(f"{SVG}text")]
    for size in samples.SIZES:
        assert sum(text.removeprefix("► ") == size.quant for text in texts) == 3
    assert sum(text.startswith("► ") for text in texts) == 2
    assert any("nothing fits" in text for text in texts)
    weights = [r for r in root.iter(f"{SVG}rect") if r.get("class") == "w"]
    assert len(weights) == 3 * len(samples.SIZES) + 1


def test_nothing_is_drawn_outside() -> None:
    root = parsed(plan_chart(samples.PLAN))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for rect in root.iter(f"{SVG}rect"):
        x, y = float(rect.get("x", 0)), float(rect.get("y", 0))
        assert 0 <= x <= x + float(rect.get("width", 0)) <= width
        assert 0 <= y <= y + float(rect.get("height", 0)) <= height


def test_foreign_names_are_only_text() -> None:
    evil = '</text><script>alert("&")</script>\x1b[2J'
    plan = replace(samples.PLAN, model=evil)
    text = plan_chart(plan)
    root = parsed(text)
    assert "<script" not in text
    assert "\x1b" not in text
    assert root.get("aria-label", "").startswith('Memory of </text><script>alert("&")')


def test_it_needs_nothing_else() -> None:
    text = plan_chart(samples.PLAN)
    assert "href" not in text
    assert "url(" not in text
    assert text.count("http") == 1  # the name of the format
