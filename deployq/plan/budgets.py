"""How much of a machine's memory a model may have: all of it, less what the system keeps.

The rules are those of the quantization lesson (docs/guide.md), with the figures that it leaves
open.
"""

from __future__ import annotations

from dataclasses import replace

from deployq.types import Card, Hardware, MemoryKind

RAM_RESERVE_BYTES = 5 * 10**9
"""A system with its programs open: the lesson says 4 to 6 GB. Never more than half of a machine."""

VRAM_RESERVE_BYTES = 800 * 10**6
"""Driver and CUDA context, 107 to 555 MiB as seen on NVIDIA cards, and a little for the desktop."""

UNIFIED_SMALL_BYTES = 32 * 2**30
"""The largest Mac that has two thirds; the next one, with 36 GB, has three quarters (27 GiB)."""


def default_reserve(kind: MemoryKind, memory_bytes: int) -> int:
    """Bytes that a machine keeps for itself, where neither the user nor a profiler says.

    Of unified memory that is what Metal does not recommend a model to use: its
    `recommendedMaxWorkingSetSize` is two thirds of Macs with up to 32 GB (10,923 MiB of 16 GB,
    16 GiB of 24 GB, 21,845 MiB of 32 GB), three quarters of those with 36 GB and more (27 GiB of
    36 GB, 36 of 48, 48 of 64, 144 of 192), as seen in llama.cpp's logs. Recent versions of macOS
    give more: 12,124 MiB of 16 GB, 25,559 MiB of 32 GB, 107.5 GiB of 128 GB; the plan takes the
    older, lower figures. `sysctl iogpu.wired_limit_mb` raises all of them.
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


def card_budgets(hardware: Hardware, reserve_bytes: int | None = None) -> tuple[int, ...]:
    """Bytes that a model may have of each of several cards; empty where there are not several.

    Args:
        hardware: the machine.
        reserve_bytes: what is kept of each card, where the user says; None: by the rule, and
            what is in use now.
    """
    if hardware.kind != "vram" or len(hardware.cards) < 2:
        return ()
    if reserve_bytes is None and hardware.reserve_bytes is not None:
        reserve_bytes = hardware.reserve_bytes // len(hardware.cards)
    if reserve_bytes is not None:
        return tuple(max(0, card.memory_bytes - reserve_bytes) for card in hardware.cards)
    return tuple(
        max(0, card.available_bytes - default_reserve("vram", card.memory_bytes))
        for card in hardware.cards
    )


def several(hardware: Hardware, count: int) -> Hardware:
    """A machine with so many cards of one kind.

    The bandwidth stays that of one: its layers are computed one card after the other.
    """
    if count < 2:
        return hardware
    card = Card(hardware.name, hardware.memory_bytes, hardware.memory_bytes)
    reserve = hardware.reserve_bytes
    return replace(
        hardware,
        name=f"{count} x {hardware.name}",
        memory_bytes=count * hardware.memory_bytes,
        available_bytes=count * hardware.memory_bytes,
        reserve_bytes=None if reserve is None else count * reserve,
        cards=(card,) * count,
    )
