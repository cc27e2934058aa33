"""Presets of well-known machines, out of machines.toml."""

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
