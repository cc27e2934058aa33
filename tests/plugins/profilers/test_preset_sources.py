"""Bandwidths of cards, worked out a second way: transfers per pin x width of the bus.

Makers state both beside the bandwidth (product pages and data sheets); a slip in one of three
figures would show. Machines that state only a bandwidth (Apple's) are not here.
"""

from __future__ import annotations

import pytest
from deployq_profilers import Amd, Nvidia

# card -> Gbit/s per pin, bits
BUSES: dict[str, tuple[float, int]] = {
    "rtx-3050": (14, 128), "rtx-3060": (15, 192), "rtx-3060-ti": (14, 256),
    "rtx-3070": (14, 256), "rtx-3070-ti": (19, 256), "rtx-3080": (19, 320),
    "rtx-3080-12gb": (19, 384), "rtx-3080-ti": (19, 384), "rtx-3090": (19.5, 384),
    "rtx-3090-ti": (21, 384), "rtx-3050-laptop": (12, 128), "rtx-3050-ti-laptop": (12, 128),
    "rtx-3060-laptop": (14, 192), "rtx-3070-laptop": (14, 256), "rtx-3070-ti-laptop": (14, 256),
    "rtx-3080-laptop-8gb": (14, 256), "rtx-3080-laptop-16gb": (14, 256),
    "rtx-3080-ti-laptop": (16, 256),
    "rtx-4060": (17, 128), "rtx-4060-ti-8gb": (18, 128), "rtx-4060-ti-16gb": (18, 128),
    "rtx-4070": (21, 192), "rtx-4070-super": (21, 192), "rtx-4070-ti": (21, 192),
    "rtx-4070-ti-super": (21, 256), "rtx-4080": (22.4, 256), "rtx-4080-super": (23, 256),
    "rtx-4090": (21, 384), "rtx-4090-d": (21, 384), "rtx-4050-laptop": (16, 96),
    "rtx-4060-laptop": (16, 128), "rtx-4070-laptop": (16, 128), "rtx-4080-laptop": (18, 192),
    "rtx-4090-laptop": (18, 256),
    "rtx-5050": (20, 128), "rtx-5060": (28, 128), "rtx-5060-ti-8gb": (28, 128),
    "rtx-5060-ti-16gb": (28, 128), "rtx-5070": (28, 192), "rtx-5070-ti": (28, 256),
    "rtx-5080": (30, 256), "rtx-5090": (28, 512), "rtx-5050-laptop": (24, 128),
    "rtx-5060-laptop": (24, 128), "rtx-5070-laptop": (24, 128), "rtx-5070-ti-laptop": (28, 192),
    "rtx-5080-laptop": (28, 256), "rtx-5090-laptop": (28, 256),
    "t4": (10, 256), "p40": (7.2, 384), "v100-16gb": (1.75, 4096), "v100-32gb": (1.75, 4096),
    "l4": (12.5, 192), "a10": (12.5, 384), "a10g": (12.5, 384), "a100-40gb": (2.43, 5120),
    "a100-80gb": (3.186, 5120), "l40s": (18, 384), "h100": (5.23, 5120), "h200": (6.25, 6144),
    "rtx-a4000": (14, 256), "rtx-a5000": (16, 384), "rtx-a6000": (16, 384),
    "rtx-6000-ada": (20, 384), "rtx-pro-6000": (28, 512),
    "rx-6800-xt": (16, 256), "rx-7600-xt": (18, 128), "rx-7800-xt": (19.5, 256),
    "rx-7900-xt": (20, 320), "rx-7900-xtx": (20, 384), "rx-9070": (20, 256),
    "rx-9070-xt": (20, 256), "mi210": (3.2, 4096), "mi300x": (5.2, 8192),
}  # fmt: skip
CARDS = {
    name: preset
    for profiler in (Nvidia(), Amd())
    for name, preset in profiler.presets().items()
    if preset.kind == "vram"
}


@pytest.mark.parametrize("name", BUSES)
def test_a_bandwidth_is_the_bus_s(name: str) -> None:
    gbit_per_pin, bits = BUSES[name]
    stated = CARDS[name].bandwidth_bytes_per_second
    assert stated == pytest.approx(gbit_per_pin * bits / 8 * 1e9, rel=0.008)


def test_all_cards_are_there_but_those_whose_makers_round() -> None:
    """The H100 PCIe is stated with "2 TB/s"."""
    left_out = {id(CARDS[name]) for name in CARDS} - {id(CARDS[name]) for name in BUSES}
    assert left_out == {id(CARDS["h100-pcie"])}
