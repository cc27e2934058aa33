"""A machine as people and programs see it."""

from __future__ import annotations

import json

from rich.console import Console, RenderableType

from deployq.report.profile_view import (
    Found,
    Preset,
    grouped,
    machine_document,
    machine_view,
    presets_document,
    presets_view,
)
from deployq.types import Bandwidth, Card, Hardware

GIB = 1 << 30
CARDS = Hardware(
    "2 x Card",
    "vram",
    48 * GIB,
    40 * GIB,
    1e12,
    "NVML",
    cards=(Card("Card", 24 * GIB, 20 * GIB),) * 2,
)
RAM = Hardware("this-machine", "ram", 64 * GIB, 50 * GIB, source="psutil")
FOUND = (Found("nvidia", CARDS, 9 * GIB, main=True), Found("this-machine", RAM, 5 * GIB))
BANDWIDTH = Bandwidth(
    2.5e10, "read", "memory read by 8 threads at once", "2026-01-02T03:04:05+00:00"
)


def shown(view: RenderableType, width: int = 120) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def test_budget_is_memory_less_reserve() -> None:
    lines = shown(machine_view(FOUND, None)).splitlines()
    (row,) = [line for line in lines if "2 x Card" in line]
    assert row.split()[0] == "►"
    assert "48.0 GiB" in row
    assert "39.0 GiB" in row
    assert "1000 GB/s" in row


def test_each_of_several_cards_has_a_line() -> None:
    text = shown(machine_view(FOUND, None))
    assert "card 0: Card, 20.0 GiB of 24.0 GiB free" in text
    assert "card 1" in text


def test_a_measurement_or_how_to_get_one() -> None:
    assert "deployq profile --measure" in shown(machine_view(FOUND, None))
    assert "25.0 GB/s, memory read by 8 threads" in shown(machine_view(FOUND, ("ram", BANDWIDTH)))


def test_the_document_of_a_machine() -> None:
    document = json.loads(json.dumps(machine_document(FOUND, ("ram", BANDWIDTH))))
    nvidia, ram = document["found"]
    assert (nvidia["main"], ram["main"]) == (True, False)
    assert nvidia["budget_bytes"] == 39 * GIB
    assert [card["available_bytes"] for card in nvidia["cards"]] == [20 * GIB] * 2
    assert ram["bandwidth_bytes_per_second"] is None
    assert document["measured"]["bytes_per_second"] == 25_000_000_000
    assert machine_document(FOUND, None)["measured"] is None


def test_names_of_one_machine_stand_together() -> None:
    card = Hardware("Card", "vram", GIB, source="s")
    same = Hardware("Card", "vram", GIB, source="s")
    assert grouped({"rtx-1": card, "1": card, "other": same}) == [
        ("rtx-1", ("1",), card),
        ("other", (), same),
    ]


def test_presets_with_their_sources() -> None:
    presets = [Preset("card", ("c",), "me", CARDS, GIB), Preset("ram", (), "me", RAM, GIB)]
    text = shown(presets_view(presets))
    assert "NVML" in text
    assert "psutil" in text
    document = presets_document(presets)
    assert document["presets"][0]["aliases"] == ["c"]
    assert document["presets"][1]["source"] == "psutil"
