"""Macs, without a Mac: a program that answers as sysctl(8) does."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from deployq_profilers.apple import Apple

from deployq.testing import check_profiler

GIB, MIB = 1 << 30, 1 << 20
MAC = ("Darwin", "arm64")
SYSCTL = (
    'case "$2" in hw.memsize) echo {memory};; iogpu.wired_limit_mb) {wired};; '
    'machdep.cpu.brand_string) echo "{chip}";; *) exit 1;; esac'
)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path / "program"


def answers(
    program: Path, *, memory: object = 16 * GIB, wired: str = "echo 0", chip: str = "Apple M2"
) -> str:
    return script(program, SYSCTL.format(memory=memory, wired=wired, chip=chip))


def script(program: Path, text: str) -> str:
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("memory", "wired", "reserve"),
    [
        (16 * GIB, "echo 0", None),
        (64 * GIB, "exit 1", None),
        (64 * GIB, "echo 57344", 8 * GIB),
        (16 * GIB, "echo 999999", 0),
    ],
)
def test_all_memory_and_what_was_raised(
    program: Path, memory: int, wired: str, reserve: int | None
) -> None:
    """Memory is all there is; a raised limit says what is kept, else the rule for Macs does."""
    found = Apple(answers(program, memory=memory, wired=wired), MAC).detect()
    assert found is not None
    assert (found.kind, found.memory_bytes, found.reserve_bytes) == ("unified", memory, reserve)


@pytest.mark.parametrize(
    ("chip", "gib", "gb_per_second"),
    [("Apple M2 Pro", 32, 200), ("Apple M3 Max", 96, 300), ("Apple M3 Max", 48, 400)],
)
def test_bandwidth_by_chip_and_memory(
    program: Path, chip: str, gib: int, gb_per_second: int
) -> None:
    found = Apple(answers(program, memory=gib * GIB, chip=chip), MAC).detect()
    assert found is not None
    assert (found.name, found.bandwidth_bytes_per_second) == (chip, gb_per_second * 10**9)


def test_a_chip_that_is_not_known_yet(program: Path) -> None:
    found = Apple(answers(program, chip="Apple M9"), MAC).detect()
    assert found is not None
    assert found.bandwidth_bytes_per_second is None


@pytest.mark.parametrize("system", [("Linux", "x86_64"), ("Darwin", "x86_64"), ("Linux", "arm64")])
def test_other_machines_are_no_macs(program: Path, system: tuple[str, str]) -> None:
    assert Apple(answers(program), system).detect() is None


@pytest.mark.parametrize("text", ["exit 1", "echo no number", "true"])
def test_a_mac_that_does_not_say(program: Path, text: str) -> None:
    assert Apple(script(program, text), MAC).detect() is None


def test_a_mac_without_sysctl(tmp_path: Path) -> None:
    assert Apple(str(tmp_path / "absent"), MAC).detect() is None


def test_it_keeps_to_the_contract(program: Path) -> None:
    """In the end its program answers nothing any more."""
    check_profiler(Apple(answers(program), MAC), lose=program.unlink)


def test_this_machine_for_real() -> None:
    is_mac = (platform.system(), platform.machine()) == MAC
    assert (Apple().detect() is not None) == is_mac
