"""Quants of a model measured on a text, each against full precision."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from deployq.errors import DiskError, ToolMissing
from deployq.ggml import tensor_bytes
from deployq.pipeline.building import artifacts_of
from deployq.pipeline.convert import made_ready
from deployq.pipeline.matrices import uses_imatrix, with_imatrix
from deployq.pipeline.prepare import Prepared, sizer, source_digest
from deployq.pipeline.session import Session
from deployq.pipeline.texts import TextSource, meter_text
from deployq.plan.catalogue import CATALOGUE
from deployq.plugins import pick
from deployq.setting_values import SUITE
from deployq.types import (
    Artifact,
    ComparingMeter,
    Comparison,
    MeasuredRow,
    MeasureReport,
    Meter,
    MeterText,
    ModelInfo,
    TextOptions,
    TextScore,
)

PERPLEXITY = "perplexity"
SCRATCH = "measure-"


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
        SourceError: the model can't be converted, or the text is too short.
        DiskError, ToolMissing, BackendError, ArtifactError: it can't be done here.
    """
    prepared = made_ready(session, prepared)
    used = meter_called(session, meter)
    digest = source_digest(session, prepared.info)
    text = meter_text(session, prepared.model, prepared.info, digest, source)
    rows, files = built_rows(session, prepared, digest, quants, both=True)
    report = MeasureReport(prepared.model.name, text.name, rows, meter=meter)
    if isinstance(used, ComparingMeter):
        comparison = compare(session, used, prepared, files, text, options)
        return replace(
            report,
            rows=with_scores(rows, comparison),
            comparison=comparison,
            notes=(*_notes(prepared, source), *comparison.notes),
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
    session: Session, prepared: Prepared, digest: str, quants: Sequence[str], *, both: bool = False
) -> tuple[tuple[MeasuredRow, ...], dict[str, Path]]:
    """A row for full precision and one for each quant; the quants' files by the rows' names.

    Args:
        both: what is made with an importance matrix is made without it too, where that can be.
    """
    info = prepared.info
    smaller = [quant for quant in dict.fromkeys(quants) if quant != info.dtype]
    plain = [q for q in smaller if both and uses_imatrix(prepared.model, q)]
    plain = [q for q in plain if not CATALOGUE[q].needs_imatrix]
    bare = replace(
        prepared,
        model=with_imatrix(prepared.model, "none"),
        size_of=sizer(session, info, judge=False),
    )
    without = dict(zip(plain, artifacts_of(session, bare, digest, plain), strict=True))
    made = dict(zip(smaller, artifacts_of(session, prepared, digest, smaller), strict=True))
    rows, files = [_full_precision(info)], {}
    for quant in smaller:
        for source, artifact in ((bare, without.get(quant)), (prepared, made[quant])):
            if artifact is not None:
                rows.append(_row(source, artifact))
                files[rows[-1].name] = artifact.path
    return tuple(rows), files


def _full_precision(info: ModelInfo) -> MeasuredRow:
    weights = sum(tensor_bytes(tensor.shape, tensor.type) for tensor in info.tensors)
    return MeasuredRow(info.dtype, info.file_bytes, 8 * weights / info.n_params)


def _row(prepared: Prepared, artifact: Artifact) -> MeasuredRow:
    size = prepared.size_of(artifact.quant)
    return MeasuredRow(
        artifact.quant, artifact.file_bytes, size.bits_per_weight, artifact.imatrix_digest
    )


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
        _clear(session.cache_dir)
        scratch = tempfile.TemporaryDirectory(
            prefix=f"{SCRATCH}{os.getpid()}-", dir=session.cache_dir
        )
    except OSError as exc:
        raise DiskError(
            f"{session.cache_dir} can't be written: {exc.strerror or exc}",
            hint="set DEPLOYQ_CACHE_DIR to another folder",
        ) from exc
    with scratch as folder:
        return meter.compare(
            prepared.info.files[0], files, text, options, Path(folder), session.progress
        )


def _clear(folder: Path) -> None:
    """Remove what killed measurements left: base logits can be gigabytes."""
    for left in folder.glob(f"{SCRATCH}*-*"):
        owner = left.name.removeprefix(SCRATCH).partition("-")[0]
        if owner.isdigit() and not _runs(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def with_scores(rows: Sequence[MeasuredRow], comparison: Comparison) -> tuple[MeasuredRow, ...]:
    """The rows with their scores."""
    scores: dict[str, TextScore] = {rows[0].name: comparison.baseline, **comparison.scores}
    return tuple(replace(row, score=scores.get(row.name)) for row in rows)


def _notes(prepared: Prepared, source: TextSource) -> Iterator[str]:
    own = source.from_suite and source.suite in (None, prepared.model.settings.suite)
    if own and prepared.model.settings.imatrix == SUITE:
        yield (
            "the importance matrix was made of this very text, which flatters it: measure on "
            "another one too (--suite, --jsonl, --text)"
        )


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
