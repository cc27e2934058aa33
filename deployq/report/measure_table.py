"""Measured quants as cells: what the terminal, Markdown and CSV share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deployq.records import dataclass
from deployq.report.wording import NOTHING
from deployq.types import MeasuredRow, Measurement, Samples
from deployq.units import format_bytes


@dataclass(frozen=True)
class Column:
    """A column: its title, and a row's cell."""

    title: str
    cell: Callable[[MeasuredRow], str]


def size_columns() -> list[Column]:
    return [
        Column("quant", lambda row: row.name),
        Column("size", lambda row: format_bytes(row.file_bytes)),
        Column("bits/w", lambda row: f"{row.bits_per_weight:.2f}"),
    ]


def score_columns() -> list[Column]:
    """Perplexity, what it rose by, and how far the quant is from full precision."""
    return [
        Column("perplexity", lambda row: with_error(row.score.perplexity if row.score else None)),
        Column("change", _change),
        Column("KL (nats)", lambda row: with_error(row.score.kl_divergence if row.score else None)),
        Column("same top", _same_top),
    ]


def speed_columns(rows: Sequence[MeasuredRow]) -> list[Column]:
    """Load time, speeds, what that is in times of the first row's, and memory."""
    base = rows[0].speeds.generation.median if rows and rows[0].speeds else None
    return [
        Column("load", lambda row: spread(row.speeds.load_seconds if row.speeds else None, "s")),
        Column("prompt t/s", lambda row: spread(row.speeds.prompt if row.speeds else None)),
        Column("answer t/s", lambda row: spread(row.speeds.generation if row.speeds else None)),
        Column("speed", lambda row: _times(row, base)),
        Column("memory", _memory),
    ]


def figure_column(meter: str) -> Column:
    """What a plugin's meter says."""
    return Column(
        meter,
        lambda row: f"{with_error(row.figure)} {row.figure.unit if row.figure else ''}".strip(),
    )


def with_error(figure: Measurement | None) -> str:
    """A value and its standard error, to as many digits as that one makes sense of."""
    if figure is None:
        return NOTHING
    if not figure.error:
        return f"{figure.value:.4g}"
    digits = max(0, _decimals(figure.error))
    return f"{figure.value:.{digits}f} ± {figure.error:.{digits}f}"


def spread(samples: Samples | None, unit: str = "") -> str:
    """The median of repeats, with the least and the largest of them."""
    if samples is None or not samples.values:
        return NOTHING
    digits = max(0, _decimals(samples.median / 10))
    low, high = (f"{value:.{digits}f}" for value in (samples.low, samples.high))
    around = f" ({low}-{high})" if len(samples.values) > 1 else ""
    return f"{samples.median:.{digits}f}{f' {unit}' if unit else ''}{around}"


def _decimals(step: float) -> int:
    """Decimals at which two digits of a step are seen."""
    decimals, step = 0, abs(step)
    while 0 < step < 10 and decimals < 6:
        step, decimals = step * 10, decimals + 1
    return decimals


def _change(row: MeasuredRow) -> str:
    ratio = row.score.ratio if row.score else None
    if ratio is None:
        return NOTHING
    error = f" ± {100 * ratio.error:.1f}" if ratio.error else ""
    return f"{100 * (ratio.value - 1):+.1f}{error} %"


def _same_top(row: MeasuredRow) -> str:
    same = row.score.same_top if row.score else None
    if same is None:
        return NOTHING
    error = f" ± {100 * same.error:.1f}" if same.error else ""
    return f"{100 * same.value:.1f}{error} %"


def _times(row: MeasuredRow, base: float | None) -> str:
    if row.speeds is None or not base:
        return NOTHING
    return f"{row.speeds.generation.median / base:.2f}x"


def _memory(row: MeasuredRow) -> str:
    taken = row.speeds.memory_bytes if row.speeds else None
    return NOTHING if taken is None else format_bytes(taken)
