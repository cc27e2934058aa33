"""The page in Chromium: nothing in it runs, nothing is asked for, and it is as wide as its window.

Skipped where there is no Chromium (Debian: apt install chromium).
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from deployq.report.page import run_page
from deployq.types import Run
from tests.report import runs
from tests.report.chromium import Browser, chromium, watched
from tests.report.pages import seen

FETCHING = (
    '<img src="http://127.0.0.1:PORT/image"><script src="http://127.0.0.1:PORT/script"></script>'
    '<link rel="stylesheet" href="http://127.0.0.1:PORT/style">'
    '<iframe src="http://127.0.0.1:PORT/frame"></iframe>'
    '<svg><image href="http://127.0.0.1:PORT/svg"/></svg>'
    '<meta http-equiv="refresh" content="0;url=http://127.0.0.1:PORT/away">'
    "<script>document.title='ran'</script><p id=got-in>"
)


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return chromium(tmp_path)


def told(run: Run, text: str) -> Run:
    """A run whose every answer, prompt and name is a text."""
    tags = tuple(
        replace(t, why=text, answers=tuple(replace(a, text=text) for a in t.answers))
        for t in run.tags
    )
    prompts = tuple(replace(p, baseline=text) for p in run.prompts)
    return replace(run, model=text, remarks=(text,), tags=tags, prompts=prompts)


def test_hostile_texts_stay_texts(browser: Browser) -> None:
    page = run_page(runs.hostile_run())
    with watched(page) as served:
        dom = seen(browser.dom(served.url))
    assert set(served.asked) <= {"/page", "/favicon.ico"}
    assert sorted(dom.elements) == sorted([*seen(page).elements])
    title = dom.text.split("Content")[0][:400]
    assert "ran" not in title.split()
    assert "script" not in dom.elements


def test_nothing_is_asked_for(browser: Browser) -> None:
    with watched(run_page(told(runs.run(), FETCHING))) as served:
        dom = browser.dom(served.url)
    assert set(served.asked) <= {"/page", "/favicon.ico"}
    assert 'id="got-in"' not in dom


def test_even_what_got_in_could_not_run_or_load(browser: Browser) -> None:
    """The second wall alone: markup put into the finished page, past all escaping."""
    page = run_page(runs.run())
    bare = FETCHING.replace('<meta http-equiv="refresh"', "<meta")
    with watched(page.replace("</main>", f"{bare}</main>")) as served:
        dom = browser.dom(served.url)
    assert 'id="got-in"' in dom
    assert set(served.asked) <= {"/page", "/favicon.ico"}
    assert "<title>ran</title>" not in dom
    without = page.replace("Content-Security-Policy", "X-None").replace("</main>", f"{bare}</main>")
    with watched(without) as served:  # the test can fail
        assert "<title>ran</title>" in browser.dom(served.url)
    assert {"/image", "/script", "/style", "/frame", "/svg"} <= set(served.asked)


@pytest.mark.parametrize("width", [400, 1200])
def test_it_is_no_wider_than_its_window(browser: Browser, width: int) -> None:
    """Only tables may scroll, by themselves. (Chromium makes no window below 500 pixels.)"""
    page = run_page(runs.hostile_run())
    probe = (
        "<script>document.title = document.documentElement.scrollWidth + '/' + innerWidth</script>"
    )
    loose = page.replace("Content-Security-Policy", "X-None").replace("</body>", f"{probe}</body>")
    with watched(loose) as served:
        dom = browser.run(served.url, "--dump-dom", f"--window-size={width},900")
    content, window = dom.split("<title>")[1].split("</title>")[0].split("/")
    assert int(content) <= int(window)


def test_light_and_dark_are_two_pictures(browser: Browser) -> None:
    with watched(run_page(runs.run())) as served:
        light = corner(browser.picture(served.url, 800, 600).read_bytes())
        dark = corner(
            browser.picture(
                served.url, 800, 600, "--blink-settings=preferredColorScheme=0"
            ).read_bytes()
        )
    assert light == (255, 255, 255)
    assert max(dark) < 40


def corner(png: bytes) -> tuple[int, ...]:
    """The colour of the first pixel: the first row's filter does nothing to it."""
    data, at = b"", 8
    while at < len(png):
        size = int.from_bytes(png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + size]
        at += 12 + size
    return tuple(zlib.decompressobj().decompress(data, 4)[1:4])


def test_it_prints(browser: Browser) -> None:
    with watched(run_page(runs.run(100, ("Q8_0", "Q6_K", "Q4_K_M", "Q2_K")))) as served:
        pdf = browser.pdf(served.url).read_bytes()
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 20_000
