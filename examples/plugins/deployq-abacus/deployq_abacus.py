"""A profiler for the Abacus X1, an accelerator that doesn't exist.

Its driver, were there one, would have a folder per card in `/sys/class/abacus`, with the files
`memory_total` and `memory_used` (bytes). `ABACUS_SYSFS` names another folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from deployq import Card, Hardware, Profiler, hookimpl

deployq_api = "1.0"
DRIVER_BYTES = 256 << 20
"""What the driver keeps of each card."""


class Abacus:
    """The cards of this machine, and the ones that are sold."""

    name = "abacus"

    def detect(self) -> Hardware | None:
        """All cards together; None where there is none, or its driver does not answer."""
        folder = Path(os.environ.get("ABACUS_SYSFS", "/sys/class/abacus"))
        cards = tuple(filter(None, map(_card, sorted(folder.glob("*")))))
        if not cards:
            return None
        return Hardware(
            name=" + ".join(card.name for card in cards),
            kind="vram",
            memory_bytes=sum(card.memory_bytes for card in cards),
            available_bytes=sum(card.available_bytes for card in cards),
            source=str(folder),
            reserve_bytes=DRIVER_BYTES * len(cards),
            cards=cards,
        )

    def presets(self) -> Mapping[str, Hardware]:
        """The Abacus X1, with 48 GiB at 1.2 TB/s."""
        x1 = Hardware(
            "Abacus X1",
            "vram",
            48 << 30,
            bandwidth_bytes_per_second=1.2e12,
            source="its data sheet",
            reserve_bytes=DRIVER_BYTES,
        )
        return {"abacus-x1": x1}


def _card(folder: Path) -> Card | None:
    try:
        total = int((folder / "memory_total").read_text())
        used = int((folder / "memory_used").read_text())
    except (OSError, ValueError):
        return None
    return Card(folder.name, total, max(0, total - used))


@hookimpl
def deployq_profilers() -> Iterable[Profiler]:
    return [Abacus()]
