"""The lesson's tables as people and programs get them."""

from __future__ import annotations

import json
import re

from rich.console import Console

from deployq.report.guide_view import agrees, guide_document, guide_markdown, guide_view
from deployq.types import Candidate, Guide, GuideChoice, GuideFit, GuideSize, Memory, QuantSize

GIB = 1 << 30
SIZE = QuantSize("Q4_K_M", 4_080_000_000, 4.84)
OFF = GuideFit(
    "8 GB RAM",
    "7B",
    "fits",
    Candidate(SIZE, Memory(4 * GIB, 2 * GIB, 0), "no", ""),
    4096,
    4 * GIB,
    "why not",
)
RIGHT = GuideFit(
    "64 GB RAM", "7B", "tight", Candidate(SIZE, Memory(4 * GIB, 0, 0), "fits", ""), 2048, 60 * GIB
)
GUIDE = Guide(
    {"RAM": (OFF, RIGHT)},
    (GuideSize("Q4_K_M", 4_100_000_000, 4, SIZE),),
    (GuideChoice("Unsure", ("Q4_K_M", "Q5_K_M"), "balanced", "Q4_K_M"),),
)


def shown(width: int) -> str:
    console = Console(width=width, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(guide_view(GUIDE))
    return capture.get()


def test_a_terminal_of_80_columns_has_each_cell_on_one_line() -> None:
    lines = shown(80).splitlines()
    assert "8 GB RAM: 4.0 GiB for a model" in [line.strip() for line in lines]
    (row,) = [line for line in lines if "why not" in line]
    assert row.split() == [
        "7B",
        "Q4_K_M",
        "context",
        "4096",
        "✓",
        "✗",
        "no",
        "6.0",
        "GiB",
        "why",
        "not",
    ]
    assert "Q4_K_M or Q5_K_M" in shown(80)
    assert "+0.5 %" in shown(80)


def test_markdown_has_whole_tables() -> None:
    tables = re.findall(r"(?:^\|.*\|\n)+", guide_markdown(GUIDE), re.MULTILINE)
    assert len(tables) == 3
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "| 8 GB RAM | 7B Q4_K_M | 4096 | ✓ | ✗ no | 6.0 GiB | 4.0 GiB | why not |" in tables[0]


def test_the_document_keeps_bytes_and_both_verdicts() -> None:
    document = json.loads(json.dumps(guide_document(GUIDE)))
    off, right = document["fits"]["RAM"]
    assert (off["claim"], off["verdict"], off["agrees"]) == ("fits", "no", False)
    assert right["agrees"] is True
    assert off["total_bytes"] == 6 * GIB
    assert document["sizes"][0]["file_bytes"] == 4_080_000_000
    assert document["choices"][0]["goal"] == "balanced"


def test_tight_is_a_way_to_fit() -> None:
    assert agrees(RIGHT)
    assert not agrees(OFF)
