"""What a machine has, and the machines that are known by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deployq.records import dataclass
from deployq.report.wording import plain
from deployq.types import Bandwidth, Hardware, MemoryKind
from deployq.units import format_bytes

GB = 10**9


@dataclass(frozen=True)
class Found:
    """What one profiler found here; `main` is what a target called laptop means."""

    profiler: str
    hardware: Hardware
    reserve_bytes: int
    main: bool = False


@dataclass(frozen=True)
class Preset:
    """A well-known machine, its other names, and who brings it."""

    name: str
    aliases: tuple[str, ...]
    profiler: str
    hardware: Hardware
    reserve_bytes: int


def grouped(presets: Mapping[str, Hardware]) -> list[tuple[str, tuple[str, ...], Hardware]]:
    """Names of one and the same machine together: the first is its own, the rest are others."""
    names: dict[int, list[str]] = {}
    for name, hardware in presets.items():
        names.setdefault(id(hardware), []).append(name)
    return [(first, tuple(rest), presets[first]) for first, *rest in names.values()]


def machine_view(
    found: Sequence[Found], measured: tuple[MemoryKind, Bandwidth] | None
) -> RenderableType:
    """This machine, one line per profiler that found something."""
    table = _table(
        ("profiler", "machine", "kind", "memory", "free now", "reserve", "budget", "read")
    )
    for one in found:
        hardware = one.hardware
        table.add_row(
            f"► {one.profiler}" if one.main else f"  {one.profiler}",
            plain(hardware.name),
            hardware.kind,
            format_bytes(hardware.memory_bytes),
            _bytes(hardware.available_bytes),
            format_bytes(one.reserve_bytes),
            format_bytes(hardware.memory_bytes - one.reserve_bytes),
            _rate(hardware.bandwidth_bytes_per_second),
        )
    lines: list[RenderableType] = [table]
    lines += [Text(line, style="dim") for line in _cards(found)]
    lines.append(_measured_line(measured))
    return Group(*lines)


def presets_view(presets: Sequence[Preset]) -> RenderableType:
    """Machines that a target can be named after; their sources below."""
    table = _table(("name", "also", "machine", "kind", "memory", "budget", "read"))
    for preset in presets:
        hardware = preset.hardware
        table.add_row(
            preset.name,
            ", ".join(preset.aliases[-1:]),
            plain(hardware.name),
            hardware.kind,
            format_bytes(hardware.memory_bytes),
            format_bytes(hardware.memory_bytes - preset.reserve_bytes),
            _rate(hardware.bandwidth_bytes_per_second),
        )
    sources = dict.fromkeys(preset.hardware.source for preset in presets)
    return Group(table, *(Text(plain(source), style="dim") for source in sources if source))


def machine_document(
    found: Sequence[Found], measured: tuple[MemoryKind, Bandwidth] | None
) -> dict[str, Any]:
    """What `deployq profile --json` prints."""
    kind, bandwidth = measured or (None, None)
    return {
        "schema": 1,
        "found": [
            {
                "profiler": one.profiler,
                "main": one.main,
                **_hardware(one.hardware, one.reserve_bytes),
            }
            for one in found
        ],
        "measured": bandwidth
        and {
            "kind": kind,
            "bytes_per_second": round(bandwidth.bytes_per_second),
            "how": bandwidth.how,
            "detail": bandwidth.detail,
            "measured": bandwidth.measured,
        },
    }


def presets_document(presets: Iterable[Preset]) -> dict[str, Any]:
    """What `deployq profile --presets --json` prints."""
    return {
        "schema": 1,
        "presets": [
            {
                "name": preset.name,
                "aliases": list(preset.aliases),
                "profiler": preset.profiler,
                "machine": preset.hardware.name,
                **_hardware(preset.hardware, preset.reserve_bytes),
            }
            for preset in presets
        ],
    }


def _hardware(hardware: Hardware, reserve_bytes: int) -> dict[str, Any]:
    rate = hardware.bandwidth_bytes_per_second
    return {
        "machine": hardware.name,
        "kind": hardware.kind,
        "memory_bytes": hardware.memory_bytes,
        "available_bytes": hardware.available_bytes,
        "reserve_bytes": reserve_bytes,
        "budget_bytes": max(0, hardware.memory_bytes - reserve_bytes),
        "bandwidth_bytes_per_second": None if rate is None else round(rate),
        "cards": [
            {
                "name": card.name,
                "memory_bytes": card.memory_bytes,
                "available_bytes": card.available_bytes,
            }
            for card in hardware.cards
        ],
        "source": hardware.source,
    }


def _cards(found: Sequence[Found]) -> list[str]:
    return [
        f"  card {n}: {plain(card.name)}, {format_bytes(card.available_bytes)} of "
        f"{format_bytes(card.memory_bytes)} free"
        for one in found
        if len(one.hardware.cards) > 1
        for n, card in enumerate(one.hardware.cards)
    ]


def _measured_line(measured: tuple[MemoryKind, Bandwidth] | None) -> Text:
    if measured is None:
        return Text("  how fast it reads its memory was not measured: deployq profile --measure")
    kind, bandwidth = measured
    speed, detail = f"{bandwidth.bytes_per_second / GB:.1f} GB/s", plain(bandwidth.detail)
    return Text(f"  measured ({kind}): {speed}, {detail}, {bandwidth.measured}")


def _table(headings: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    figures = ("memory", "free now", "reserve", "budget", "read")
    for heading in headings:
        right = heading in figures
        table.add_column(
            heading, justify="right" if right else "left", no_wrap=right or heading == "name"
        )
    return table


def _bytes(count: int | None) -> str:
    return "" if count is None else format_bytes(count)


def _rate(bytes_per_second: float | None) -> str:
    return "" if bytes_per_second is None else f"{bytes_per_second / GB:.0f} GB/s"
