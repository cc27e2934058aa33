"""This machine: what its profilers find, how fast it reads its memory, and where that is kept."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from deployq.errors import PluginError
from deployq.pipeline.session import Session
from deployq.plan.speed import bytes_per_token
from deployq.plugins import pick
from deployq.records import dataclass
from deployq.source.inspect import inspect
from deployq.types import (
    Bandwidth,
    Hardware,
    MeasuringProfiler,
    MemoryKind,
    Meter,
    Profiler,
)

BENCH = "llama-bench"


@dataclass(frozen=True)
class Measured:
    """A bandwidth of this machine, and of which of its memories."""

    kind: MemoryKind
    bandwidth: Bandwidth


def detect(profilers: Iterable[Profiler]) -> list[Hardware]:
    """What each profiler finds on this machine, in their order."""
    return [hardware for profiler in profilers if (hardware := profiler.detect())]


def main_hardware(detected: Sequence[Hardware]) -> Hardware | None:
    """The memory that a model is loaded into here: a GPU's where there is one."""
    gpus = [hardware for hardware in detected if hardware.kind != "ram"]
    return next(iter((*gpus, *detected)), None)


def bandwidth_of(hardware: Hardware, measured: Measured | None) -> Bandwidth | None:
    """What was measured of this kind of memory, else what is stated.

    Args:
        hardware: the machine.
        measured: of this machine, where `hardware` is it.
    """
    if measured is not None and measured.kind == hardware.kind:
        return measured.bandwidth
    stated = hardware.bandwidth_bytes_per_second
    return Bandwidth(stated, "stated", hardware.source) if stated else None


def measure(session: Session, model: Path | None = None) -> Measured:
    """Measure how fast this machine reads its memory, and remember it.

    Args:
        session: of the command.
        model: a GGUF to let llama-bench generate with, which calibrates the estimate by what
            this machine really does; None: only read memory, in a few seconds.

    Raises:
        PluginError: no profiler measures.
        ToolMissing: there is no llama-bench.
        BackendError: it failed.
        SourceError: the model can't be read.
    """
    measured = _with_model(session, model) if model else _by_reading(session)
    file = _file(session)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(asdict(measured)), encoding="utf-8")
    temporary.replace(file)
    return measured


def stored_bandwidth(session: Session) -> Measured | None:
    """What was measured last; None where nothing was, or it can't be read any more."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        content = json.loads(_file(session).read_text(encoding="utf-8"))
        return Measured(content["kind"], Bandwidth(**content["bandwidth"]))
    return None


def _file(session: Session) -> Path:
    return session.cache_dir / "bandwidth.json"


def _by_reading(session: Session) -> Measured:
    able = [p for p in session.profilers().values() if isinstance(p, MeasuringProfiler)]
    for profiler in able:
        if hardware := profiler.detect():
            found = profiler.measure(session.progress)
            return Measured(hardware.kind, Bandwidth(found.value, "read", found.detail, _now()))
    raise PluginError("no profiler here can measure a bandwidth", hint="deployq plugins")


def _with_model(session: Session, model: Path) -> Measured:
    """llama-bench's tokens/s at an empty context, times the weights that one token reads."""
    info = inspect(model)
    meters = cast("dict[str, Meter]", session.plugins.named("deployq_meters"))
    found = pick(meters, BENCH, "meter").measure(info.files[0], info.files[0], session.progress)
    read = bytes_per_token(info, [tensor.type for tensor in info.tensors])
    kind: MemoryKind = "ram"
    if found.detail not in ("CPU", "BLAS"):
        main = main_hardware(detect(session.profilers().values()))
        kind = main.kind if main else "ram"
    detail = f"{BENCH} ({found.detail}), {model.name}: {found.value:.1f} tokens/s"
    return Measured(kind, Bandwidth(found.value * read, "model", detail, _now()))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
