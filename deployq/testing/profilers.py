"""The contract of `deployq.Profiler`, as checks for its author's own tests."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import get_args

from deployq.testing.calls import SECONDS, called, kind_of
from deployq.testing.must import must
from deployq.types import Card, Hardware, MemoryKind, Profiler

LEAST_BYTES, MOST_BYTES = 128 << 20, 1 << 50
"""A machine's memory lies between these; what is below counts in MiB or GiB, not in bytes."""

LEAST_BANDWIDTH, MOST_BANDWIDTH = 1e9, 1e14
"""Bytes per second, from a slow memory card to more than any machine; below it, GB/s are meant."""

TAKEN = frozenset({"laptop", "local", "this"})
"""Names that mean this machine; a preset can't have them."""


def check_profiler(
    profiler: Profiler, *, lose: Callable[[], None] | None = None, seconds: float = SECONDS
) -> None:
    """Hold a profiler against the contract of `deployq.Profiler`, on this machine as it is.

    Args:
        profiler: the object that your hook gives.
        lose: takes the device away that the profiler finds (ends a stub, removes its files);
            called last. None: what happens then is not looked at.
        seconds: the most that one call may take.

    Raises:
        AssertionError: it breaks the contract; the message says how.
    """
    must(isinstance(profiler, Profiler), f"{profiler!r} lacks a part of deployq.Profiler")
    must(isinstance(profiler.name, str) and bool(profiler.name), "its name is no text, or empty")
    check_profiler_answers(profiler, seconds)
    check_presets(profiler, seconds)
    if lose:
        check_profiler_loss(profiler, lose, seconds)


def check_profiler_answers(profiler: Profiler, seconds: float = SECONDS) -> None:
    """What it finds makes sense, is found again, and needs no program on PATH."""
    found = _detected(profiler, seconds)
    again = _detected(profiler, seconds)
    must(
        _lasting(found) == _lasting(again),
        f"{profiler.name} finds {found} and, asked again, {again}: only what is free may change",
    )
    with _without_programs():
        _detected(profiler, seconds)


def check_profiler_loss(
    profiler: Profiler, lose: Callable[[], None], seconds: float = SECONDS
) -> None:
    """A device that goes away (unplugged, its driver reset) is no longer found, without a fuss."""
    before = _detected(profiler, seconds)
    must(before is not None, f"{profiler.name} finds nothing that could go away")
    lose()
    after = _detected(profiler, seconds)
    must(
        _lasting(after) != _lasting(before),
        f"{profiler.name} still finds {before} after it went away: it remembers instead of looking",
    )


def check_presets(profiler: Profiler, seconds: float = SECONDS) -> None:
    """Its presets are machines by lower-case names, the same ones every time."""
    presets = called(profiler.presets, f"{profiler.name}.presets()", seconds)
    must(isinstance(presets, Mapping), f"presets() gives {kind_of(presets)}, no mapping")
    for name, hardware in presets.items():
        must(isinstance(name, str) and bool(name), f"a preset's name is {name!r}")
        must(name == name.lower(), f"the preset {name!r} has capital letters: names are typed")
        must(name not in TAKEN, f"the preset {name!r} has a name that means this machine")
        must(isinstance(hardware, Hardware), f"preset {name!r} is {kind_of(hardware)}")
        check_hardware(hardware, f"preset {name!r}")
        must(
            hardware.available_bytes is None,
            f"preset {name!r} states what is free: nobody knows that of a machine that isn't here",
        )
    again = called(profiler.presets, f"{profiler.name}.presets()", seconds)
    must(dict(again) == dict(presets), f"{profiler.name} has other presets when asked again")


def check_hardware(hardware: Hardware, what: str) -> None:
    """A machine's figures: bytes, none negative, none more than there is.

    Args:
        hardware: the machine.
        what: how messages call it.
    """
    total = hardware.memory_bytes
    must(bool(hardware.name), f"{what} has no name")
    must(bool(hardware.source), f"{what} doesn't say where its figures are from (source)")
    kinds = get_args(MemoryKind)
    must(hardware.kind in kinds, f"{what}: kind {hardware.kind!r} is none of {', '.join(kinds)}")
    _must_be_memory(total, f"{what}: memory_bytes")
    _must_be_part(hardware.available_bytes, total, f"{what}: available_bytes")
    _must_be_part(hardware.reserve_bytes, total, f"{what}: reserve_bytes")
    _must_be_bandwidth(hardware.bandwidth_bytes_per_second, what)
    _must_be_cards(hardware, what)


# ---------------------------------------------------------------- figures


def _must_be_memory(n_bytes: object, what: str) -> None:
    must(type(n_bytes) is int, f"{what} is {n_bytes!r}: bytes are whole numbers")
    assert isinstance(n_bytes, int)
    must(
        LEAST_BYTES <= n_bytes <= MOST_BYTES,
        f"{what} is {n_bytes}: no machine's memory in bytes (MiB or GiB?)",
    )


def _must_be_part(n_bytes: object, total: int, what: str) -> None:
    if n_bytes is None:
        return
    must(type(n_bytes) is int, f"{what} is {n_bytes!r}: bytes are whole numbers, or None")
    assert isinstance(n_bytes, int)
    must(0 <= n_bytes <= total, f"{what} is {n_bytes}, of a memory of {total}")


def _must_be_bandwidth(rate: object, what: str) -> None:
    if rate is None:
        return
    must(
        isinstance(rate, int | float) and LEAST_BANDWIDTH <= rate <= MOST_BANDWIDTH,
        f"{what}: bandwidth_bytes_per_second is {rate!r}: bytes per second, or None (GB/s?)",
    )


def _must_be_cards(hardware: Hardware, what: str) -> None:
    cards = hardware.cards
    must(
        isinstance(cards, tuple) and all(isinstance(card, Card) for card in cards),
        f"{what}: cards is no tuple of deployq.Card",
    )
    for card in cards:
        _must_be_memory(card.memory_bytes, f"{what}, card {card.name!r}: memory_bytes")
        _must_be_part(card.available_bytes, card.memory_bytes, f"{what}, card {card.name!r}: free")
    if cards:
        total = sum(card.memory_bytes for card in cards)
        must(
            total == hardware.memory_bytes,
            f"{what}: its cards have {total} bytes, the machine {hardware.memory_bytes}",
        )


# ---------------------------------------------------------------- calls


def _detected(profiler: Profiler, seconds: float) -> Hardware | None:
    found = called(profiler.detect, f"{profiler.name}.detect()", seconds)
    if found is None:
        return None
    must(isinstance(found, Hardware), f"detect() gives {kind_of(found)}, no deployq.Hardware")
    check_hardware(found, f"what {profiler.name} finds")
    return found  # type: ignore[no-any-return]


@contextlib.contextmanager
def _without_programs() -> Iterator[None]:
    path = os.environ.get("PATH")
    os.environ["PATH"] = ""
    try:
        yield
    finally:
        os.environ.pop("PATH")
        if path is not None:
            os.environ["PATH"] = path


def _lasting(hardware: Hardware | None) -> Hardware | None:
    """A machine without what changes by the minute."""
    if hardware is None:
        return None
    cards = tuple(replace(card, available_bytes=0) for card in hardware.cards)
    return replace(hardware, available_bytes=None, cards=cards)
