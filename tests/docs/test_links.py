"""Links of the pages that are no part of the site, and what the pictures hold.

The site's own links are checked by `make docs`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.tools.drawings import FOLDER, drawings
from tests.docs.markdown import PAGES, ROOT

OUTSIDE = [page for page in PAGES if ROOT / "docs" not in page.parents]


def links(page: Path) -> list[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    return [link.partition("#")[0] for link in found if not re.match(r"https?:|#", link)]


@pytest.mark.parametrize("page", OUTSIDE, ids=lambda page: str(page.relative_to(ROOT)))
def test_its_links_lead_somewhere(page: Path) -> None:
    assert [link for link in links(page) if not (page.parent / link).exists()] == []


def test_the_readme_has_links() -> None:
    assert len(links(ROOT / "README.md")) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_names_a_folder_of_somebody_s_machine(page: Path) -> None:
    assert not re.search(r"/(root|home|tmp|Users)/", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(drawings()))
def test_a_drawing_is_current(name: str) -> None:
    held = (FOLDER / name).read_text(encoding="utf-8")
    assert held == drawings()[name], "run: python -m docs.tools.drawings"


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.svg")), ids=lambda file: file.name)
def test_a_picture_needs_no_network_and_names_no_folder(file: Path) -> None:
    drawn = file.read_text(encoding="utf-8")
    assert not re.search(r"url\(['\"]?https?:|@import|<script|href=", drawn)
    assert not re.search(r"/(root|home|tmp|Users)/", drawn)


def test_the_pictures_of_the_readme_are_small() -> None:
    assert 20_000 < (FOLDER / "report.png").stat().st_size < 200_000
    assert 5_000 < (FOLDER / "push.svg").stat().st_size < 100_000
