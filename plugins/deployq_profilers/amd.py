"""AMD cards and APUs, by the files of the Linux driver amdgpu."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from deployq import Card, Hardware
from deployq_profilers.cards import FoundCard, together
from deployq_profilers.presets import presets_of

VENDOR = "0x1002"


@dataclass
class Amd:
    """Every card as one machine; where there is none, the APU.

    /sys/class/drm/card*/device has mem_info_vram_total and mem_info_vram_used for a card's own
    memory, mem_info_gtt_total and mem_info_gtt_used for main memory that the GPU can map, in
    bytes (Linux Documentation/gpu/amdgpu/driver-misc.rst, "Memory Usage Information"). An APU's
    "own" memory is a part of main memory that the firmware set aside, and it can use GTT as
    fast. Only an APU has a sensor with the label vddnb (drivers/gpu/drm/amd/pm/amdgpu_pm.c), but
    for the MI300A.

    Args:
        root: where the file system /sys is looked for.
        ram_bytes: main memory; None: ask.
    """

    root: Path = Path("/")
    ram_bytes: int | None = None
    name: str = "amd"

    def detect(self) -> Hardware | None:
        devices = list(self._devices())
        cards = [card for device in devices if not _is_apu(device) and (card := _card(device))]
        if cards:
            return together(cards, "sysfs: mem_info_vram_*")
        apus = (self._apu(device) for device in devices if _is_apu(device))
        return next((apu for apu in apus if apu), None)

    def presets(self) -> Mapping[str, Hardware]:
        return presets_of(self.name)

    def _devices(self) -> Iterator[Path]:
        for link in sorted((self.root / "sys/class/drm").glob("card*/device")):
            if _text(link / "vendor") == VENDOR:
                yield link

    def _apu(self, device: Path) -> Hardware | None:
        """An APU and all memory there is: main memory, and what was set aside of it.

        The driver says how much of that the GPU can use.
        """
        own, shared = (
            _number(device / "mem_info_vram_total"),
            _number(device / "mem_info_gtt_total"),
        )
        used = _number(device / "mem_info_vram_used") + _number(device / "mem_info_gtt_used")
        usable = own + shared
        if not usable:
            return None
        total = own + (psutil.virtual_memory().total if self.ram_bytes is None else self.ram_bytes)
        return Hardware(
            _name(device),
            "unified",
            total,
            max(0, usable - used),
            source="sysfs: mem_info_vram_* and mem_info_gtt_* of an APU",
            reserve_bytes=max(0, total - usable),
        )


def _card(device: Path) -> FoundCard | None:
    total = _number(device / "mem_info_vram_total")
    free = total - _number(device / "mem_info_vram_used")
    return FoundCard(Card(_name(device), total, max(0, free))) if total else None


def _is_apu(device: Path) -> bool:
    return any(_text(label) == "vddnb" for label in device.glob("hwmon/hwmon*/in*_label"))


def _name(device: Path) -> str:
    """The product's name, which cards for servers tell; else the number of its device."""
    product, number = _text(device / "product_name"), _text(device / "device")
    return product or f"AMD GPU {number}".strip()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(file: Path) -> int:
    text = _text(file)
    return int(text) if text.isdecimal() else 0
