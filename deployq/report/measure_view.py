"""Measurements on a text, and the benchmark table: terminal, Markdown, CSV, JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deployq.report.measure_table import (
    Column,
    figure_column,
    score_columns,
    size_columns,
    speed_columns,
)
from deployq.report.plan_markdown import escaped
from deployq.report.wording import plain
from deployq.types import (
    BenchReport,
    Comparison,
    MeasuredRow,
    Measurement,
    MeasureReport,
    Samples,
    Speeds,
    TextScore,
)

SCHEMA = 1
Document = dict[str, Any]


# ---------------------------------------------------------------- for people


def measure_view(report: MeasureReport) -> RenderableType:
    """A row per quant; below, what was measured on, and by what."""
    return _view(report.model, _measure_columns(report), report.rows, measure_lines(report))


def bench_view(report: BenchReport) -> RenderableType:
    """The table of the quants on this machine; below, how it was measured."""
    return _view(report.model, _bench_columns(report), report.rows, bench_lines(report))


def measure_markdown(report: MeasureReport) -> str:
    return _markdown(_measure_columns(report), report.rows, measure_lines(report))


def bench_markdown(report: BenchReport) -> str:
    return _markdown(_bench_columns(report), report.rows, bench_lines(report))


def measure_lines(report: MeasureReport) -> Iterator[str]:
    """How the figures were come by."""
    yield f"{report.model} on {report.text}"
    if report.comparison:
        yield from _comparison_lines(report.comparison)
    yield from report.notes


def bench_lines(report: BenchReport) -> Iterator[str]:
    """How the figures were come by."""
    options, speeds = report.options, report.rows[0].speeds
    yield f"{report.model} on this machine: {report.machine}"
    if speeds:
        cold = "from disk" if speeds.cold else "perhaps from the system's cache"
        yield (
            f"speeds by {speeds.by} ({speeds.device}): a prompt of {options.prompt_tokens} and an "
            f"answer of {options.generated_tokens} tokens, median of {options.repeats} (least-most)"
        )
        yield (
            f"load: {cold}, until the server would answer; memory: as the engine allocates it for "
            f"a context of {options.n_ctx}"
        )
    if report.comparison:
        yield f"perplexity on {report.text}"
        yield from _comparison_lines(report.comparison)
    yield from report.notes


def _comparison_lines(comparison: Comparison) -> Iterator[str]:
    yield (
        f"{comparison.by}: {comparison.tokens:,} tokens scored in {comparison.chunks} chunks of "
        f"{comparison.n_ctx}; ± is its standard error"
    )


def _measure_columns(report: MeasureReport) -> list[Column]:
    return size_columns() + (
        score_columns() if report.comparison else [figure_column(report.meter)]
    )


def _bench_columns(report: BenchReport) -> list[Column]:
    scored = score_columns()[:2] if report.comparison else []
    return size_columns() + scored + speed_columns(report.rows)


def _view(
    title: str, columns: Sequence[Column], rows: Sequence[MeasuredRow], lines: Iterator[str]
) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, column in enumerate(columns):
        table.add_column(column.title, justify="right" if number else "left", no_wrap=not number)
    for row in rows:
        table.add_row(*(plain(column.cell(row)) for column in columns))
    notes = [Text(plain(line), style="dim") for line in lines]
    return Group(Text(plain(title), style="bold"), table, *notes)


def _markdown(columns: Sequence[Column], rows: Sequence[MeasuredRow], lines: Iterator[str]) -> str:
    written = [
        f"| {' | '.join(column.title for column in columns)} |",
        f"|{'|'.join('---:' if number else '---' for number in range(len(columns)))}|",
        *(f"| {' | '.join(escaped(column.cell(row)) for column in columns)} |" for row in rows),
        "",
        *(f"{escaped(line)}.  " for line in lines),
    ]
    return "\n".join(written) + "\n"


# ---------------------------------------------------------------- for programs


def bench_csv(report: BenchReport) -> str:
    """One line per quant, every figure a bare number; units stand in the names."""
    rows = [_flat(row) for row in report.rows]
    output = io.StringIO()
    writer = csv.DictWriter(output, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return output.getvalue()


def measure_document(report: MeasureReport) -> Document:
    """What `deployq measure --json` prints."""
    return {
        "schema": SCHEMA,
        "model": report.model,
        "meter": report.meter,
        "text": report.text,
        "comparison": _comparison(report.comparison),
        "quants": [_row(row) for row in report.rows],
        "notes": list(report.notes),
    }


def bench_document(report: BenchReport) -> Document:
    """What `deployq bench --json` prints."""
    return {
        "schema": SCHEMA,
        "model": report.model,
        "machine": report.machine,
        "options": asdict(report.options),
        "text": report.text or None,
        "comparison": _comparison(report.comparison),
        "quants": [_row(row) for row in report.rows],
        "notes": list(report.notes),
    }


def _comparison(comparison: Comparison | None) -> Document | None:
    if comparison is None:
        return None
    return {
        "by": comparison.by,
        "n_ctx": comparison.n_ctx,
        "chunks": comparison.chunks,
        "tokens": comparison.tokens,
    }


def _row(row: MeasuredRow) -> Document:
    return {
        "quant": row.quant,
        "imatrix": row.imatrix or None,
        "file_bytes": row.file_bytes,
        "bits_per_weight": round(row.bits_per_weight, 4),
        "score": None if row.score is None else _score(row.score),
        "speeds": None if row.speeds is None else _speeds(row.speeds),
        "figure": _figure(row.figure),
    }


def _score(score: TextScore) -> Document:
    return {
        "perplexity": _figure(score.perplexity),
        "ratio": _figure(score.ratio),
        "kl_divergence": _figure(score.kl_divergence),
        "kl_median": score.kl_median,
        "kl_99": score.kl_99,
        "kl_max": score.kl_max,
        "same_top": _figure(score.same_top),
    }


def _figure(figure: Measurement | None) -> Document | None:
    if figure is None:
        return None
    return {"value": figure.value, "error": figure.error, "unit": figure.unit}


def _speeds(speeds: Speeds) -> Document:
    return {
        "prompt": _samples(speeds.prompt),
        "generation": _samples(speeds.generation),
        "load_seconds": _samples(speeds.load_seconds),
        "cold": speeds.cold,
        "memory_bytes": speeds.memory_bytes,
        "device": speeds.device,
        "by": speeds.by,
    }


def _samples(samples: Samples) -> Document:
    values = [round(value, 4) for value in samples.values]
    return {"median": round(samples.median, 4), "values": values, "unit": samples.unit}


def _flat(row: MeasuredRow) -> dict[str, object]:
    score, speeds = row.score, row.speeds
    return {
        "quant": row.quant,
        "imatrix": row.imatrix,
        "file_bytes": row.file_bytes,
        "bits_per_weight": round(row.bits_per_weight, 4),
        "perplexity": score.perplexity.value if score else "",
        "perplexity_error": score.perplexity.error if score else "",
        "load_seconds": round(speeds.load_seconds.median, 4) if speeds else "",
        "prompt_tokens_per_second": round(speeds.prompt.median, 2) if speeds else "",
        "answer_tokens_per_second": round(speeds.generation.median, 2) if speeds else "",
        "memory_bytes": speeds.memory_bytes if speeds else "",
    }
