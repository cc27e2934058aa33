"""NVIDIA cards and Macs: real programs that answer as nvidia-smi and sysctl are documented to."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import pytest
from deployq_profilers.apple import Apple
from deployq_profilers.nvidia import Nvidia, parse_smi

GIB, MIB = 1 << 30, 1 << 20
MAC = ("Darwin", "arm64")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path / "program"


def answers(program: Path, script: str) -> str:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


def test_one_card(program: Path) -> None:
    smi = answers(program, 'echo "NVIDIA GeForce RTX 4090, 24564, 23028"')
    found = Nvidia(smi).detect()
    assert found is not None
    assert (found.name, found.kind, found.source) == (
        "NVIDIA GeForce RTX 4090",
        "vram",
        "nvidia-smi",
    )
    assert (found.memory_bytes, found.available_bytes) == (24564 * MIB, 23028 * MIB)


def test_it_is_asked_what_can_be_parsed(program: Path) -> None:
    """The program gives an answer only to the right question."""
    smi = answers(
        program,
        '[ "$1" = "--query-gpu=name,memory.total,memory.free" ] '
        '&& [ "$2" = "--format=csv,noheader,nounits" ] && echo "A, 1, 1"',
    )
    assert Nvidia(smi).detect() is not None


def test_the_largest_of_several_cards(program: Path) -> None:
    smi = answers(
        program, 'printf "NVIDIA T400, 2048, 1900\\nNVIDIA A100-SXM4-80GB, 81920, 81000\\n"'
    )
    found = Nvidia(smi).detect()
    assert found is not None
    assert found.memory_bytes == 81920 * MIB


@pytest.mark.parametrize(
    "script",
    [
        'echo "NVIDIA-SMI has failed: it could not communicate with the NVIDIA driver."; exit 9',
        'echo "No devices were found"',
        'echo "NVIDIA Thor, [N/A], [N/A]"',
        "true",
    ],
)
def test_no_usable_card(program: Path, script: str) -> None:
    assert Nvidia(answers(program, script)).detect() is None


def test_no_nvidia_smi(tmp_path: Path) -> None:
    assert Nvidia(str(tmp_path / "absent")).detect() is None


def test_a_name_with_a_comma() -> None:
    (card,) = parse_smi("Odd, Inc. GPU, 100, 50\n")
    assert card.name == "Odd, Inc. GPU"


def test_cards_by_short_and_long_name() -> None:
    presets = Nvidia().presets()
    assert presets["4090"] is presets["rtx-4090"]
    assert presets["4090"].memory_bytes == 24564 * MIB
    assert presets["4090"].kind == "vram"


SYSCTL = 'case "$2" in hw.memsize) echo {memory};; iogpu.wired_limit_mb) {wired};; *) exit 1;; esac'


@pytest.mark.parametrize(
    ("memory", "wired", "usable"),
    [
        (16 * GIB, "echo 0", 16 * GIB * 2 // 3),
        (36 * GIB, "echo 0", 24 * GIB),
        (64 * GIB, "echo 0", 48 * GIB),
        (64 * GIB, "exit 1", 48 * GIB),
        (64 * GIB, "echo 57344", 56 * GIB),
        (16 * GIB, "echo 999999", 16 * GIB),
    ],
)
def test_what_metal_lets_a_model_have(program: Path, memory: int, wired: str, usable: int) -> None:
    sysctl = answers(program, SYSCTL.format(memory=memory, wired=wired))
    found = Apple(sysctl, MAC).detect()
    assert found is not None
    assert (found.memory_bytes, found.kind) == (usable, "unified")


@pytest.mark.parametrize("system", [("Linux", "x86_64"), ("Darwin", "x86_64"), ("Linux", "arm64")])
def test_other_machines_are_no_macs(program: Path, system: tuple[str, str]) -> None:
    sysctl = answers(program, SYSCTL.format(memory=GIB, wired="echo 0"))
    assert Apple(sysctl, system).detect() is None


@pytest.mark.parametrize("script", ["exit 1", "echo no number", "true"])
def test_a_mac_that_does_not_say(program: Path, script: str) -> None:
    assert Apple(answers(program, script), MAC).detect() is None


def test_a_mac_without_sysctl(tmp_path: Path) -> None:
    assert Apple(str(tmp_path / "absent"), MAC).detect() is None


def test_this_machine_for_real() -> None:
    is_mac = (platform.system(), platform.machine()) == MAC
    assert (Apple().detect() is not None) == is_mac
    if shutil.which("nvidia-smi") is None:
        assert Nvidia().detect() is None


def test_macs_by_chip_and_memory() -> None:
    assert Apple().presets()["m1-8gb"].memory_bytes == 8 * GIB * 2 // 3
    assert Apple().presets()["m4-max-128gb"].memory_bytes == 96 * GIB
