"""The page of a run: what stands where, that it is whole, and that nothing foreign gets in."""

from __future__ import annotations

import base64
import hashlib
import time
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from deployq.report.page import MOST_BYTES, run_page
from deployq.report.page_chart import chart
from deployq.report.page_measures import measures, percent, signed_percent
from deployq.report.page_scales import Scale, size_scale, ticks
from deployq.types import Estimate, Run
from tests.report import runs
from tests.report.pages import seen

ELEMENTS = """
html head meta title style body main header section footer p div span b i h1 h2 ul li time bdi
fieldset legend label input figure table thead tbody tr th td details summary pre del ins dl
dt dd br svg desc line rect circle path text
"""
ATTRIBUTES = """
lang charset http-equiv content name class datetime aria-labelledby id type checked scope
title colspan dir viewbox width height role x y x1 x2 y1 y2 cx cy r rx d text-anchor open
hidden
"""


def test_the_verdict_stands_first() -> None:
    page = run_page(runs.run())
    verdict = page.index("<h1><bdi>Q4_K_M is the smallest that holds; Q2_K does not</bdi></h1>")
    order = ("chart", "figures", "positions", "prompts", "facts")
    places = [verdict, *(page.index(f'<h2 id="h-{name}">') for name in order)]
    assert places == sorted(places)


def test_nothing_is_loaded_and_only_the_own_style_is_allowed() -> None:
    page = run_page(runs.run())
    found = seen(page)
    style = page.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = [v for v in found.values("content") if "default-src" in v]
    assert policy.startswith("default-src 'none'; ")
    assert f"style-src 'sha256-{digest}';" in policy
    assert "script-src" not in policy
    assert not {"src", "href", "style", "srcset", "action"} & {a for _, a, _ in found.attributes}
    assert "url(" not in style
    assert "@import" not in style


def test_hostile_texts_add_no_element_no_attribute_and_no_hidden_character() -> None:
    page = run_page(runs.hostile_run())
    found = seen(page)
    assert set(found.elements) <= set(ELEMENTS.split())
    assert {name for _, name, _ in found.attributes} <= set(ATTRIBUTES.split())
    assert page.count("<style") == page.count("</style>") == 1
    assert page.encode("utf-8")
    shown = set(page) - {"\n"}
    assert {c for c in shown if not c.isprintable()} <= {"\u200d"}  # in a family of emoji
    assert "\\u202e" in found.text
    assert "\\x1b[31m" in found.text
    assert "<script>document.title='ran'</script>" in found.text
    assert "{{ 7 * 7 }}" in found.text
    assert "👩\u200d👩\u200d👧\u200d👦" in found.text


def test_every_prompt_every_answer_and_the_words_that_differ_are_there() -> None:
    run = runs.run()
    page = run_page(run)
    found = seen(page)
    for prompt in run.prompts:
        assert prompt.name in found.text
        assert prompt.messages[0].content in found.text
    assert page.count('class="lost differs"') == 3
    assert "<del>id</del><ins>di</ins>" in page
    assert found.text.count("json_equals") == 3
    labels = [t.strip() for t in found.texts]
    assert {"all 6", "answered otherwise 3", "failed 3", "lost 3"} <= set(labels)


@pytest.mark.parametrize("text", ["x" * 1_000_000, "<\x00" * 500_000, "word " * 200_000])
def test_a_megabyte_of_an_answer_is_cut_and_says_so(text: str) -> None:
    run = runs.run(4)
    tags = tuple(
        replace(one, answers=tuple(replace(a, text=text + one.quant) for a in one.answers))
        for one in run.tags
    )
    started = time.monotonic()
    page = run_page(replace(run, tags=tags))
    assert time.monotonic() - started < 60
    assert len(page.encode()) < MOST_BYTES
    assert "more characters" in seen(page).text


def test_four_tags_and_a_hundred_prompts_stay_below_a_megabyte() -> None:
    run = runs.run(100, ("Q8_0", "Q6_K", "Q4_K_M", "Q2_K"))
    long = {
        p.name: f'{{"id": "{p.name}", "words": "{"lorem ipsum dolor " * 40}"}}' for p in run.prompts
    }
    tags = tuple(
        replace(t, answers=tuple(replace(a, text=f"{long[a.prompt]} {t.quant}") for a in t.answers))
        for t in run.tags
    )
    prompts = tuple(replace(p, baseline=long[p.name]) for p in run.prompts)
    page = run_page(replace(run, tags=tags, prompts=prompts))
    assert len(page.encode()) < 1_000_000
    assert len(run_page(run).encode()) < 300_000


def test_a_run_in_which_nothing_was_asked_has_a_page_too() -> None:
    run = replace(runs.run(), kind="push", tags=(), prompts=(), exit_code=0)
    found = seen(run_page(run))
    assert "Nothing was asked in this run." in found.text
    assert "table" not in found.elements


def test_a_page_is_the_same_when_it_is_written_again() -> None:
    assert run_page(runs.run()) == run_page(runs.run())


# ---------------------------------------------------------------- charts


def drawn(run: Run, key: str, width: float = 940) -> ET.Element:
    (measure,) = [m for m in measures(run) if m.key == key]
    return ET.fromstring(str(chart(measure, run.tags, run.targets, width)))


@pytest.mark.parametrize("width", [940, 350])
@pytest.mark.parametrize("key", ["same", "rise", "checks"])
def test_a_chart_names_every_quant_once_and_inside(key: str, width: float) -> None:
    svg = drawn(runs.run(), key, width)
    texts = [t for t in svg.iter("text") if "name" in t.get("class", "").split()]
    assert sorted(t.text.split()[0] for t in texts if t.text) == sorted(runs.SIZES)
    for text in svg.iter("text"):
        assert 0 <= float(text.get("x", -1)) <= width
        assert 0 <= float(text.get("y", -1)) <= float(svg.get("height", 0))
    boxes = [(float(t.get("x", 0)), float(t.get("y", 0)), len(t.text or "") * 3.2) for t in texts]
    for n, (x, y, half) in enumerate(boxes):
        for x2, y2, half2 in boxes[n + 1 :]:
            assert abs(x - x2) > half + half2 or abs(y - y2) >= 10


def test_a_chart_has_error_bars_budgets_and_words_for_the_blind() -> None:
    svg = drawn(runs.run(), "same")
    assert sum(line.get("class") == "whisker" for line in svg.iter("line")) >= 6 * 3
    lanes = [t.text for t in svg.iter("text") if t.get("class") == "lanename"]
    assert lanes == ["laptop: up to 15.6 GiB →", "watch: up to 3.5 MiB"]
    assert sum(line.get("class") == "budget" for line in svg.iter("line")) == 1
    assert svg.get("role") == "img"
    described = svg.findtext("desc") or ""
    assert "Q2_K, 1.8 MiB: 80 % (78 % to 81 %)" in described


def test_what_is_far_away_is_drawn_at_the_edge_with_its_figure() -> None:
    svg = drawn(runs.run(), "rise")
    assert any("away" in path.get("class", "") for path in svg.iter("path"))
    assert "Q2_K +90 %" in [t.text for t in svg.iter("text")]


def test_one_tag_alone_makes_a_chart() -> None:
    run = runs.run(3, ("Q4_K_M",))
    assert drawn(run, "same") is not None
    run = replace(run, tags=tuple(replace(t, pass_share=Estimate(1.0)) for t in run.tags))
    assert drawn(run, "checks") is not None


def test_ticks_are_round_and_inside() -> None:
    assert ticks(Scale(0.93, 1.0, 0, 100), 6) == pytest.approx([0.94, 0.96, 0.98, 1.0])
    assert ticks(size_scale([1.8, 8.6], 0, 900), 12) == [2, 3, 4, 6, 8]
    assert len(ticks(size_scale([2, 900], 0, 300), 5)) <= 5


def test_figures_have_no_needless_digits() -> None:
    assert [percent(v) for v in (1.0, 0.958, 0.0004)] == ["100 %", "95.8 %", "0 %"]
    assert [signed_percent(v) for v in (0.05, -0.004, 0.0, -0.0001, 12.3)] == [
        "+5 %", "-0.4 %", "0 %", "0 %", "+1230 %",
    ]  # fmt: skip
