"""Macs with Apple's own chips: one memory, of which Metal lets a model have a part."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass

from deployq import BackendError, Hardware, proc
from deployq_profilers.presets import presets_of

MIB = 1 << 20
_TIMEOUT_SECONDS = 10.0


@dataclass
class Apple:
    """Unified memory, by sysctl.

    hw.memsize is all of it in bytes, iogpu.wired_limit_mb what an administrator lets the GPU
    have (0: Metal's own rule), machdep.cpu.brand_string the chip's name ("Apple M2 Pro").

    Args:
        sysctl: the program to ask.
        system: the operating system and machine, as the `platform` module names them.
    """

    sysctl: str = "sysctl"
    system: tuple[str, str] = (platform.system(), platform.machine())
    name: str = "apple"

    def detect(self) -> Hardware | None:
        if self.system != ("Darwin", "arm64"):
            return None
        total = _number(self._ask("hw.memsize"))
        if not total:
            return None
        chip = self._ask("machdep.cpu.brand_string") or "Apple"
        raised = _number(self._ask("iogpu.wired_limit_mb")) * MIB
        return Hardware(
            chip,
            "unified",
            total,
            bandwidth_bytes_per_second=self._bandwidth(chip, total),
            source="sysctl: hw.memsize" + (", iogpu.wired_limit_mb" if raised else ""),
            reserve_bytes=max(0, total - raised) if raised else None,
        )

    def presets(self) -> Mapping[str, Hardware]:
        return presets_of(self.name)

    def _bandwidth(self, chip: str, memory_bytes: int) -> float | None:
        """That of the preset with this chip and memory; chips of one name differ by memory."""
        same = [
            p for p in self.presets().values() if (p.name, p.memory_bytes) == (chip, memory_bytes)
        ]
        return same[0].bandwidth_bytes_per_second if same else None

    def _ask(self, key: str) -> str:
        """The value of a key; empty where there is none."""
        try:
            answer = proc.run(
                (self.sysctl, "-n", key), timeout_seconds=_TIMEOUT_SECONDS, check=False
            )
        except BackendError:
            return ""
        return answer.stdout.strip() if answer.returncode == 0 else ""


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
