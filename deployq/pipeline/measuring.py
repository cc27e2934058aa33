"""Quants of a model measured on a text, each against full precision."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from deployq.errors import DiskError, ToolMissing
from deployq.pipeline.building import artifacts_of
from deployq.pipeline.prepare import Prepared, source_digest
from deployq.pipeline.session import Session
from deployq.pipeline.texts import TextSource, meter_text
from deployq.plugins import pick
from deployq.source.inspect import require_gguf
from deployq.types import (
    Artifact,
    ComparingMeter,
    Comparison,
    MeasuredRow,
    MeasureReport,
    Meter,
    MeterText,
    TextOptions,
    TextScore,
)

PERPLEXITY = "perplexity"


def measure_text(
    session: Session,
    prepared: Prepared,
    quants: Sequence[str],
    source: TextSource,
    options: TextOptions,
    meter: str = PERPLEXITY,
) -> MeasureReport:
    """Measure quants on a text; those that are missing are built.

    Raises:
        ConfigError, SuiteError: no text, or an unknown meter.
        SourceError: the model was not converted yet, or the text is too short.
        DiskError, ToolMissing, BackendError, ArtifactError: it can't be done here.
    """
    require_gguf(prepared.info)
    used = meter_called(session, meter)
    digest = source_digest(session, prepared.info)
    text = meter_text(session, prepared.model, prepared.info, digest, source)
    rows, files = built_rows(session, prepared, digest, quants)
    report = MeasureReport(prepared.model.name, text.name, rows, meter=meter)
    if isinstance(used, ComparingMeter):
        comparison = compare(session, used, prepared, files, text, options)
        return replace(
            report,
            rows=with_scores(rows, comparison),
            comparison=comparison,
            notes=comparison.notes,
        )
    figures = [_figure(session, used, row, prepared, files, text) for row in rows]
    return replace(report, rows=tuple(figures))


def meter_called(session: Session, name: str) -> Meter:
    """The meter of that name, usable here.

    Raises:
        PluginError: there is none.
        ToolMissing: it is not usable.
    """
    meter = pick(cast("dict[str, Meter]", session.plugins.named("deployq_meters")), name, "meter")
    health = meter.health()
    if not health.ok:
        raise ToolMissing(f"meter {name}: {health.detail}", hint=health.hint)
    return meter


def built_rows(
    session: Session, prepared: Prepared, digest: str, quants: Sequence[str]
) -> tuple[tuple[MeasuredRow, ...], dict[str, Path]]:
    """A row for full precision and one for each quant; the quants' files by the rows' names."""
    info = prepared.info
    smaller = [quant for quant in dict.fromkeys(quants) if quant != info.dtype]
    artifacts = artifacts_of(session, prepared, digest, smaller)
    full = MeasuredRow(info.dtype, info.file_bytes, _bits(info.file_bytes, info.n_params))
    rows = [_row(prepared, artifact) for artifact in artifacts]
    files = {row.name: a.path for row, a in zip(rows, artifacts, strict=True)}
    return (full, *rows), files


def _row(prepared: Prepared, artifact: Artifact) -> MeasuredRow:
    size = prepared.size_of(artifact.quant)
    return MeasuredRow(artifact.quant, artifact.file_bytes, size.bits_per_weight)


def _bits(file_bytes: int, n_params: int) -> float:
    return 8 * file_bytes / n_params


def compare(
    session: Session,
    meter: ComparingMeter,
    prepared: Prepared,
    files: Mapping[str, Path],
    text: MeterText,
    options: TextOptions,
) -> Comparison:
    """Score the files, in a folder of the cache that is gone afterwards."""
    try:
        session.cache_dir.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix="measure-", dir=session.cache_dir)
    except OSError as exc:
        raise DiskError(
            f"{session.cache_dir} can't be written: {exc.strerror or exc}",
            hint="set DEPLOYQ_CACHE_DIR to another folder",
        ) from exc
    with scratch as folder:
        return meter.compare(
            prepared.info.files[0], files, text, options, Path(folder), session.progress
        )


def with_scores(rows: Sequence[MeasuredRow], comparison: Comparison) -> tuple[MeasuredRow, ...]:
    """The rows with their scores."""
    scores: dict[str, TextScore] = {rows[0].name: comparison.baseline, **comparison.scores}
    return tuple(replace(row, score=scores.get(row.name)) for row in rows)


def _figure(
    session: Session,
    meter: Meter,
    row: MeasuredRow,
    prepared: Prepared,
    files: Mapping[str, Path],
    text: MeterText,
) -> MeasuredRow:
    path = files.get(row.name, prepared.info.files[0])
    return replace(row, figure=meter.measure(path, text.path, session.progress))


def quants_of(prepared: Prepared, asked: Sequence[str], default: Sequence[str]) -> list[str]:
    """The quants in question: those asked for, those that the targets would get, or the default."""
    if asked:
        return list(asked)
    planned = list(prepared.plan.quants) if prepared.model.settings.quants else []
    return planned or list(default)
