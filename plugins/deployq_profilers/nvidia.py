"""NVIDIA cards, by nvidia-smi."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployq import BackendError, Hardware, proc
from deployq_profilers.presets import NVIDIA

MIB = 1 << 20
_QUERY = ("--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits")
_TIMEOUT_SECONDS = 20.0


@dataclass
class Nvidia:
    """The card with the most memory; llama.cpp can split a model over several, a plan doesn't.

    Args:
        nvidia_smi: the program to ask.
    """

    nvidia_smi: str = "nvidia-smi"
    name: str = "nvidia"

    def detect(self) -> Hardware | None:
        try:
            answer = proc.run(
                (self.nvidia_smi, *_QUERY), timeout_seconds=_TIMEOUT_SECONDS, check=False
            )
        except BackendError:
            return None
        cards = parse_smi(answer.stdout) if answer.returncode == 0 else []
        return max(cards, key=lambda card: card.memory_bytes, default=None)

    def presets(self) -> Mapping[str, Hardware]:
        return NVIDIA


def parse_smi(text: str) -> list[Hardware]:
    """Cards of nvidia-smi's CSV: name, total MiB, free MiB; lines of other forms are skipped."""
    cards = []
    for line in text.splitlines():
        name, *numbers = (field.strip() for field in line.rsplit(",", 2))
        if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
            total, free = (int(number) * MIB for number in numbers)
            cards.append(Hardware(name, "vram", total, free, source="nvidia-smi"))
    return cards
