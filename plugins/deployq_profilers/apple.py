"""Macs with Apple's own chips: one memory, of which Metal lets a model have a part."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass

from deployq import BackendError, Hardware, proc
from deployq_profilers.presets import APPLE, metal_bytes

MIB = 1 << 20
_TIMEOUT_SECONDS = 10.0


@dataclass
class Apple:
    """Unified memory, by sysctl.

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
        total = self._ask("hw.memsize")
        if not total:
            return None
        raised = self._ask("iogpu.wired_limit_mb") or 0
        share = raised * MIB or metal_bytes(total)
        why = "iogpu.wired_limit_mb" if raised else "Metal's share of hw.memsize"
        return Hardware("Apple", "unified", min(share, total), source=f"sysctl: {why}")

    def presets(self) -> Mapping[str, Hardware]:
        return APPLE

    def _ask(self, key: str) -> int | None:
        try:
            answer = proc.run(
                (self.sysctl, "-n", key), timeout_seconds=_TIMEOUT_SECONDS, check=False
            )
        except BackendError:
            return None
        text = answer.stdout.strip()
        return int(text) if answer.returncode == 0 and text.isdecimal() else None
