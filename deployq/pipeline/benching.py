"""The table of a model's quants on this machine: size, quality, load time, speed, memory."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from deployq.errors import PluginError
from deployq.pipeline.convert import made_ready
from deployq.pipeline.machine import detect, main_hardware
from deployq.pipeline.measure import (
    PERPLEXITY,
    built_rows,
    compare,
    meter_called,
    with_scores,
)
from deployq.pipeline.prepare import Prepared, source_digest
from deployq.pipeline.session import Session
from deployq.pipeline.texts import TextSource, meter_text
from deployq.types import (
    BenchReport,
    ComparingMeter,
    MeasuredRow,
    SpeedMeter,
    SpeedOptions,
    TextOptions,
)
from deployq.units import format_bytes

SPEED = "speed"
NOISY = 0.3


def bench(
    session: Session,
    prepared: Prepared,
    quants: Sequence[str],
    source: TextSource | None,
    text_options: TextOptions,
    options: SpeedOptions,
    meter: str = SPEED,
) -> BenchReport:
    """Measure full precision and quants, those that are missing built first.

    Args:
        source: what perplexity is measured on; None: it is not measured.

    Raises:
        PluginError: there is no such meter, or it is none for speeds.
        DeployqError: as for `measure_text`.
    """
    prepared = made_ready(session, prepared)
    used = meter_called(session, meter)
    if not isinstance(used, SpeedMeter):
        raise PluginError(f"meter {meter!r} measures no speeds", hint="deployq plugins")
    digest = source_digest(session, prepared.info)
    text = None if source is None else meter_text(
        session, prepared.model, prepared.info, digest, source
    )  # fmt: skip
    rows, files = built_rows(session, prepared, digest, quants)
    report = BenchReport(prepared.model.name, machine_text(session), options, rows)
    if text is not None:
        scoring = meter_called(session, PERPLEXITY)
        assert isinstance(scoring, ComparingMeter)
        found = compare(session, scoring, prepared, files, text, text_options)
        report = replace(
            report,
            rows=with_scores(rows, found),
            text=text.name,
            comparison=found,
            notes=found.notes,
        )
    whole = {rows[0].name: prepared.info.files[0], **files}
    with tempfile.TemporaryDirectory(prefix="deployq-") as folder:
        speeds = used.speeds(whole, options, Path(folder), session.progress)
    timed = tuple(replace(row, speeds=speeds[row.name]) for row in report.rows)
    return replace(report, rows=timed, notes=(*report.notes, *_noise(timed)))


def _noise(rows: Sequence[MeasuredRow]) -> Iterator[str]:
    """Say so where the repeats of one file lie far apart."""
    samples = [s for row in rows if row.speeds for s in (row.speeds.prompt, row.speeds.generation)]
    widest = max(((s.high - s.low) / s.median for s in samples if s.median), default=0.0)
    if widest > NOISY:
        yield (
            f"repeats lie up to {100 * widest:.0f} % apart: something else runs on this machine, "
            "and the speeds tell little"
        )


def machine_text(session: Session) -> str:
    """This machine in a few words."""
    main = main_hardware(detect(session.profilers().values()))
    if main is None:
        return f"{platform.machine()}, {platform.system()}"
    return f"{main.name}, {format_bytes(main.memory_bytes)} {main.kind}, {platform.system()}"
