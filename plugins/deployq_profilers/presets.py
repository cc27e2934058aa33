"""Presets of well-known machines, out of machines.toml.

Memory and bandwidth are the makers' (product pages, data sheets, technical specifications of Macs);
which, each group of the table says. They were looked through once more against published tables
of reviews and vendors: 3080 and 3090, 3060 and 4070 for laptops, 4060 to 4080, 5050 to 5090, A100,
H100, H200, L4, L40S, RTX A6000, RTX PRO 6000, RX 7900 XT and XTX, MI300X, and Apple's chips from
M1 Pro on agreed; the others were not found there. tests/plugins/profilers/test_preset_sources.py
works every card's bandwidth out a second way, from its memory's transfers and the width of its bus.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from deployq import Hardware, MemoryKind

MIB, GB = 1 << 20, 10**9
TABLE = Path(__file__).with_name("machines.toml")


@cache
def presets_of(profiler: str) -> Mapping[str, Hardware]:
    """The machines that belong to a profiler, by name; other names of one are the same object."""
    table = _table()
    aliases: Mapping[str, str] = table["aliases"]
    found: dict[str, Hardware] = {}
    for series, group in table.items():
        if series == "aliases" or group["profiler"] != profiler:
            continue
        for name, row in group["machines"].items():
            found |= dict.fromkeys(names_of(name), _machine(group, row))
    return found | {short: found[full] for short, full in aliases.items() if full in found}


def names_of(name: str) -> Iterator[str]:
    """A machine's names: its own first, then those that people type."""
    yield name
    yield name.replace("-", "")
    if name.startswith("rtx-"):
        yield name.removeprefix("rtx-")
        yield name.removeprefix("rtx-").replace("-", "")


@cache
def _table() -> Mapping[str, Any]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def _machine(group: Mapping[str, Any], row: tuple[str, int, float]) -> Hardware:
    name, mib, bandwidth = row
    kind: MemoryKind = group["kind"]
    reserve = group.get("reserve_mib")
    return Hardware(
        name,
        kind,
        mib * MIB,
        bandwidth_bytes_per_second=bandwidth * GB,
        source=f"preset: {group['source']}",
        reserve_bytes=reserve * MIB if reserve else None,
    )
