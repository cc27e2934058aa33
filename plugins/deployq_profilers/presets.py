"""Well-known machines.

NVIDIA: memory as nvidia-smi reports it (memory.total, MiB), bandwidth as NVIDIA's data sheets
give it (GB/s). Apple: memory as sold, of which Metal's recommendedMaxWorkingSetSize counts;
bandwidth as Apple's specifications give it (GB/s).
"""

from __future__ import annotations

from collections.abc import Mapping

from deployq import Hardware

MIB, GIB, GB = 1 << 20, 1 << 30, 10**9

# name in plans, full name, MiB, GB/s
_CARDS = (
    ("5090", "NVIDIA GeForce RTX 5090", 32607, 1792),
    ("5080", "NVIDIA GeForce RTX 5080", 16303, 960),
    ("4090", "NVIDIA GeForce RTX 4090", 24564, 1008),
    ("4080", "NVIDIA GeForce RTX 4080", 16376, 717),
    ("4070", "NVIDIA GeForce RTX 4070", 12282, 504),
    ("4060", "NVIDIA GeForce RTX 4060", 8188, 272),
    ("3090", "NVIDIA GeForce RTX 3090", 24576, 936),
    ("3080", "NVIDIA GeForce RTX 3080", 10240, 760),
    ("3070", "NVIDIA GeForce RTX 3070", 8192, 448),
    ("3060", "NVIDIA GeForce RTX 3060", 12288, 360),
    ("h100", "NVIDIA H100 80GB HBM3", 81559, 3350),
    ("a100", "NVIDIA A100-SXM4-80GB", 81920, 2039),
    ("l4", "NVIDIA L4", 23034, 300),
    ("t4", "Tesla T4", 15360, 320),
)

# chip, GiB as sold, GB/s
_MACS = (
    ("m1", 8, 68),
    ("m1", 16, 68),
    ("m2", 8, 100),
    ("m2", 16, 100),
    ("m3", 16, 100),
    ("m4", 16, 120),
    ("m4", 24, 120),
    ("m4-pro", 48, 273),
    ("m4-max", 128, 546),
    ("m2-ultra", 192, 800),
)


def metal_bytes(total_bytes: int) -> int:
    """What Metal recommends a model to use at most: two thirds up to 36 GB, three quarters above.

    `recommendedMaxWorkingSetSize` as seen on Macs; `sysctl iogpu.wired_limit_mb` raises it.
    """
    return total_bytes * 2 // 3 if total_bytes <= 36 * GIB else total_bytes * 3 // 4


def _cards() -> dict[str, Hardware]:
    presets = {}
    for key, name, mib, bandwidth in _CARDS:
        card = Hardware(
            name, "vram", mib * MIB, None, bandwidth * GB, "preset: as nvidia-smi has it"
        )
        presets[key] = card
        if "RTX" in name:
            presets[f"rtx-{key}"] = card
    return presets


def _macs() -> dict[str, Hardware]:
    presets = {}
    for chip, gib, bandwidth in _MACS:
        key = f"{chip}-{gib}gb"
        memory, source = metal_bytes(gib * GIB), f"preset: Metal's share of {gib} GiB"
        presets[key] = Hardware(f"Apple {key}", "unified", memory, None, bandwidth * GB, source)
    return presets


NVIDIA: Mapping[str, Hardware] = _cards()
APPLE: Mapping[str, Hardware] = _macs()
