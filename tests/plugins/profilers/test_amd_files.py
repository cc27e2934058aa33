"""AMD, without a card: files as the Linux kernel documents them for amdgpu, written by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from deployq_profilers.amd import Amd

from deployq import Hardware
from deployq.testing import check_profiler

GIB = 1 << 30
RAM = 60 * GIB


def device(
    root: Path,
    card: int,
    *,
    vram: int,
    used: int = 0,
    gtt: int = 30 * GIB,
    apu: bool = False,
    vendor: str = "0x1002",
    product: str = "",
) -> None:
    folder = root / f"sys/class/drm/card{card}/device"
    hwmon = folder / "hwmon/hwmon3"
    hwmon.mkdir(parents=True)
    files = {
        "vendor": vendor,
        "device": "0x744c",
        "mem_info_vram_total": str(vram),
        "mem_info_vram_used": str(used),
        "mem_info_gtt_total": str(gtt),
        "mem_info_gtt_used": str(GIB),
        "product_name": product,
        "hwmon/hwmon3/in0_label": "vddgfx",
    }
    if apu:
        files["hwmon/hwmon3/in1_label"] = "vddnb"
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


def detect(root: Path) -> Hardware | None:
    return Amd(root, RAM).detect()


def test_a_card(tmp_path: Path) -> None:
    """Main memory that the card can map is not counted: it is read over the bus."""
    device(tmp_path, 1, vram=24 * GIB, used=2 * GIB)
    found = detect(tmp_path)
    assert found is not None
    assert (found.name, found.kind) == ("AMD GPU 0x744c", "vram")
    assert (found.memory_bytes, found.available_bytes) == (24 * GIB, 22 * GIB)


def test_several_cards(tmp_path: Path) -> None:
    for n in range(2):
        device(tmp_path, n, vram=64 * GIB, product="AMD Instinct MI210")
    found = detect(tmp_path)
    assert found is not None
    assert (found.name, found.memory_bytes) == ("2 x AMD Instinct MI210", 128 * GIB)
    assert len(found.cards) == 2


def test_an_apu_has_all_memory_and_a_limit(tmp_path: Path) -> None:
    """4 GiB were set aside of 64; the driver lets it use those and 30 GiB of the other 60."""
    device(tmp_path, 0, vram=4 * GIB, used=GIB, apu=True)
    found = detect(tmp_path)
    assert found is not None
    assert (found.kind, found.memory_bytes) == ("unified", 64 * GIB)
    assert found.reserve_bytes == 30 * GIB
    assert found.available_bytes == 32 * GIB


def test_a_card_wins_over_the_apu_beside_it(tmp_path: Path) -> None:
    device(tmp_path, 0, vram=GIB // 2, apu=True)
    device(tmp_path, 1, vram=16 * GIB)
    found = detect(tmp_path)
    assert found is not None
    assert (found.kind, found.memory_bytes) == ("vram", 16 * GIB)


@pytest.mark.parametrize("text", ["", "rubbish", "-1"])
def test_a_file_that_says_nothing(tmp_path: Path, text: str) -> None:
    device(tmp_path, 0, vram=8 * GIB)
    (tmp_path / "sys/class/drm/card0/device/mem_info_vram_total").write_text(text)
    assert detect(tmp_path) is None


def test_cards_of_others(tmp_path: Path) -> None:
    device(tmp_path, 0, vram=8 * GIB, vendor="0x8086")
    assert detect(tmp_path) is None


def test_no_sysfs_at_all(tmp_path: Path) -> None:
    assert detect(tmp_path) is None


@pytest.mark.parametrize("apu", [False, True])
def test_it_keeps_to_the_contract(tmp_path: Path, apu: bool) -> None:
    """With a device, which is unplugged in the end."""
    device(tmp_path, 0, vram=8 * GIB, used=GIB, apu=apu)
    check_profiler(Amd(tmp_path, RAM), lose=lambda: shutil.rmtree(tmp_path / "sys/class/drm/card0"))


def test_one_of_two_cards_goes_away(tmp_path: Path) -> None:
    for n in range(2):
        device(tmp_path, n, vram=64 * GIB)
    check_profiler(Amd(tmp_path, RAM), lose=lambda: shutil.rmtree(tmp_path / "sys/class/drm/card1"))
