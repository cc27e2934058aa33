"""How much of a machine's memory a model may have: all of it, less what the system keeps.

The rules are those of the quantization lesson (docs/guide.md), with the figures that it leaves
open.
"""

from __future__ import annotations

from deployq.types import Hardware, MemoryKind

RAM_RESERVE_BYTES = 5 * 10**9
"""A system with its programs open: the lesson says 4 to 6 GB. Never more than half of a machine."""

VRAM_RESERVE_BYTES = 800 * 10**6
"""Driver and CUDA context, 107 to 555 MiB as seen on NVIDIA cards, and a little for the desktop."""

UNIFIED_SMALL_BYTES = 36 * 2**30


def default_reserve(kind: MemoryKind, memory_bytes: int) -> int:
    """Bytes that a machine keeps for itself, where neither the user nor a profiler says.

    Of unified memory that is what Metal does not recommend a model to use: its
    `recommendedMaxWorkingSetSize` is two thirds of Macs with up to 36 GB, three quarters above,
    as seen on Macs; `sysctl iogpu.wired_limit_mb` raises it.
    """
    if kind == "vram":
        return min(VRAM_RESERVE_BYTES, memory_bytes // 4)
    if kind == "unified":
        share = 3 if memory_bytes <= UNIFIED_SMALL_BYTES else 4
        return -(-memory_bytes // share)
    return min(RAM_RESERVE_BYTES, memory_bytes // 2)


def reserve_of(hardware: Hardware) -> int:
    """Bytes of a machine that a model can't have.

    Of cards that were looked at, that is what is in use now, and a driver's share on each of
    them. Main memory in use is not counted: a system gives its caches back, and the rule for it
    has room for programs.
    """
    if hardware.reserve_bytes is not None:
        return hardware.reserve_bytes
    if hardware.kind != "vram" or hardware.available_bytes is None:
        return default_reserve(hardware.kind, hardware.memory_bytes)
    in_use = hardware.memory_bytes - hardware.available_bytes
    parts = [card.memory_bytes for card in hardware.cards] or [hardware.memory_bytes]
    return in_use + sum(default_reserve("vram", part) for part in parts)
