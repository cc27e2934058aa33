"""The table of well-known machines."""

from __future__ import annotations

import pytest
from deployq_profilers import Amd, Apple, Nvidia, Ram
from deployq_profilers.presets import names_of

from deployq import Hardware

GIB, MIB = 1 << 30, 1 << 20
PRESETS: dict[str, Hardware] = {
    name: preset
    for profiler in (Nvidia(), Amd(), Apple(), Ram())
    for name, preset in profiler.presets().items()
}


@pytest.mark.parametrize(
    ("name", "memory_bytes", "gb_per_second"),
    [
        ("rtx-4090", 24564 * MIB, 1008),
        ("rtx-3060-laptop", 6 * GIB, 336),
        ("rtx-5070-ti-laptop", 12 * GIB, 672),
        ("a10g", 23028 * MIB, 600),
        ("mi300x", 192 * GIB, 5300),
        ("m1-8gb", 8 * GIB, 68),
        ("m2-pro-32gb", 32 * GIB, 200),
        ("m4-max-128gb", 128 * GIB, 546),
        ("laptop-16gb", 16 * GIB, 51.2),
        ("dgx-spark", 128 * GIB, 273),
    ],
)
def test_lines_of_the_table(name: str, memory_bytes: int, gb_per_second: float) -> None:
    preset = PRESETS[name]
    assert preset.memory_bytes == memory_bytes
    assert preset.bandwidth_bytes_per_second == gb_per_second * 10**9


@pytest.mark.parametrize("name", ["4090", "rtx4090", "rtx-4090"])
def test_a_card_by_the_names_that_people_type(name: str) -> None:
    assert PRESETS[name] is PRESETS["rtx-4090"]


@pytest.mark.parametrize(
    ("name", "full"),
    [("a100", "a100-80gb"), ("m2pro32gb", "m2-pro-32gb"), ("4060ti8gb", "rtx-4060-ti-8gb")],
)
def test_other_names(name: str, full: str) -> None:
    assert PRESETS[name] is PRESETS[full]


def test_a_name_stands_for_one_machine() -> None:
    per_profiler = [set(p.presets()) for p in (Nvidia(), Amd(), Apple(), Ram())]
    assert sum(map(len, per_profiler)) == len(set().union(*per_profiler))
    own = {id(preset): name for name, preset in reversed(PRESETS.items())}
    assert len(own) > 100
    for name in own.values():
        assert all(PRESETS[other] is PRESETS[name] for other in names_of(name)), name


def test_every_line_makes_sense() -> None:
    for name, preset in PRESETS.items():
        assert name == name.lower()
        assert name not in {"laptop", "local", "this"}
        assert 4 * GIB <= preset.memory_bytes <= 512 * GIB, name
        assert preset.bandwidth_bytes_per_second is not None
        assert 5e10 < preset.bandwidth_bytes_per_second < 6e12, name
        assert len(preset.source) > len("preset: "), name
        assert (preset.reserve_bytes or 0) < preset.memory_bytes // 2, name
        assert preset.available_bytes is None, name


def test_macs_are_unified_and_cards_are_not() -> None:
    assert {preset.kind for preset in Apple().presets().values()} == {"unified"}
    assert PRESETS["4090"].kind == PRESETS["rx-7900-xtx"].kind == "vram"
    assert PRESETS["laptop-8gb"].kind == "ram"
