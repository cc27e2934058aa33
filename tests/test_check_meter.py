"""The conformance check of meters finds each fault, and passes what is good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployq import Health, Measurement, Progress
from deployq.testing import check_meter


def bits(artifact: Path, text: Path, progress: Progress) -> Any:
    progress("bits", 1, 1, "files")
    return Measurement(8 * artifact.stat().st_size / text.stat().st_size, "bits/byte")


WELL = Health(True)


@dataclass
class Bits:
    """A meter that does whatever a test wants."""

    go: Callable[[Path, Path, Progress], Any] = bits
    name: str = "bits"
    unit: str = "bits/byte"
    healthy: Health = WELL

    def health(self) -> Health:
        return self.healthy

    def measure(self, artifact: Path, text: Path, progress: Progress) -> Measurement:
        return self.go(artifact, text, progress)  # type: ignore[no-any-return]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    artifact, text = tmp_path / "model.gguf", tmp_path / "text.txt"
    artifact.write_bytes(b"GGUF" * 10)
    text.write_text("once upon a time")
    return artifact, text


def test_a_good_one_passes(files: tuple[Path, Path]) -> None:
    check_meter(Bits(), *files)


def gives(value: float, unit: str = "bits/byte", error: float | None = None) -> Bits:
    return Bits(lambda *_: Measurement(value, unit, error))


def changes(artifact: Path, text: Path, progress: Progress) -> Any:
    text.write_text("the end")
    return bits(artifact, text, progress)


def half_told(artifact: Path, text: Path, progress: Progress) -> Any:
    found = bits(artifact, text, progress)
    progress("bits", 1, 2, "files")
    return found


def nameless_work(artifact: Path, text: Path, progress: Progress) -> Any:
    progress("", 1, 1, "files")
    return bits(artifact, text, progress)


FAULTS: dict[str, tuple[Any, str]] = {
    "nothing of a meter": (object(), "lacks a part"),
    "no name": (Bits(name=""), "its name is empty"),
    "no unit": (Bits(unit=""), "its unit is empty"),
    "not usable": (Bits(healthy=Health(False, detail="no scale")), "no scale"),
    "no number": (gives(float("nan")), "it measured nan"),
    "another unit": (gives(1.0, "nats"), "is in 'nats', not in 'bits/byte'"),
    "an error below 0": (gives(1.0, error=-0.1), "its error is -0.1"),
    "changes a file": (Bits(changes), "it changed a file"),
    "progress ends early": (Bits(half_told), "not the end"),
    "progress of nothing": (Bits(nameless_work), "told of nothing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str, files: tuple[Path, Path]) -> None:
    meter, message = FAULTS[fault]
    with pytest.raises(AssertionError, match=message):
        check_meter(meter, *files)
