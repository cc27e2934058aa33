"""The contract of a meter."""

from __future__ import annotations

import math
from pathlib import Path

from deployq.testing.must import must
from deployq.types import Meter


def check_meter(meter: Meter, artifact: Path, text: Path) -> None:
    """Hold a meter against the contract of `deployq.Meter`.

    Args:
        meter: usable on this machine.
        artifact: a small GGUF.
        text: a plain text, long enough to be measured on.

    Raises:
        AssertionError: it breaks the contract; the message says how.
    """
    must(isinstance(meter, Meter), f"{meter!r} lacks a part of deployq.Meter")
    must(bool(meter.name), "its name is empty")
    must(bool(meter.unit), "its unit is empty: nobody knows what the figure is")
    health = meter.health()
    must(health.ok, f"{meter.name} says that it is not usable here: {health.detail}")
    before = artifact.read_bytes(), text.read_bytes()
    calls: list[tuple[float, float | None]] = []

    def record(task: str, done: float, total: float | None, unit: str) -> None:
        must(bool(task) and bool(unit), "progress is told of nothing")
        calls.append((done, total))

    found = meter.measure(artifact, text, record)
    must(math.isfinite(found.value), f"it measured {found.value}")
    must(found.unit == meter.unit, f"its figure is in {found.unit!r}, not in {meter.unit!r}")
    error = found.error
    must(error is None or (math.isfinite(error) and error >= 0), f"its error is {error}")
    must((artifact.read_bytes(), text.read_bytes()) == before, "it changed a file")
    must(not calls or calls[-1][0] == calls[-1][1], f"its last progress is not the end: {calls}")
