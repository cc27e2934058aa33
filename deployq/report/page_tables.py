"""The tables of a page: the figures of each tag, and where in the answers it goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from markupsafe import Markup

from deployq.records import dataclass
from deployq.report.page_chart import whisker
from deployq.report.page_measures import (
    divergence,
    limit_of,
    nats,
    percent,
    rise,
    same_top,
    signed_percent,
)
from deployq.report.page_scales import Scale
from deployq.report.wording import NOTHING
from deployq.types import Estimate, Run, RunTag, Stretch
from deployq.units import format_bytes

SPARK = 72.0
_NO_PICTURE = Markup("")
HEAT = (0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.999)


@dataclass(frozen=True)
class Figure:
    """A figure in a cell: its value, its interval in words, and as a picture."""

    value: str
    interval: str = ""
    spark: Markup = _NO_PICTURE


@dataclass(frozen=True)
class Column:
    """A column of figures: what it is called, and what a reader should know of it."""

    name: str
    meaning: str


@dataclass(frozen=True)
class FigureRow:
    """One tag with its figures, in the order of the columns."""

    tag: RunTag
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Figures:
    """The table of figures; columns that no tag has are left out."""

    columns: tuple[Column, ...]
    rows: tuple[FigureRow, ...]


def figures(run: Run) -> Figures:
    """The table of a run."""
    columns = [(column, list(cells)) for column, cells in _columns(run)]
    kept = [(column, cells) for column, cells in columns if any(c.value != NOTHING for c in cells)]
    rows = zip(*(cells for _, cells in kept), strict=True)
    return Figures(
        tuple(column for column, _ in kept),
        tuple(FigureRow(tag, cells) for tag, cells in zip(run.tags, rows, strict=True)),
    )


def _columns(run: Run) -> Iterator[tuple[Column, Iterator[Figure]]]:
    tags = run.tags
    yield Column("size", "of the file"), (_size(tag) for tag in tags)
    yield (
        Column("bits", "per weight"),
        (_plain(tag.bits_per_weight, lambda bits: f"{bits:.2f}") for tag in tags),
    )
    yield Column("checks", "prompts that pass"), (_checks(tag) for tag in tags)
    yield (
        Column("same token", "of the baseline's tokens that stay the likeliest"),
        _estimates(run, same_top, percent, "agreement"),
    )
    yield (
        Column("KL ≥", "nats per token, a lower bound"),
        _estimates(run, divergence, nats, ""),
    )
    yield (
        Column("perplexity", "of the full-precision answers"),
        (
            _plain(tag.agreement.perplexity.value if tag.agreement else None, lambda p: f"{p:.3f}")
            for tag in tags
        ),
    )
    yield Column("rise", "of that perplexity"), _estimates(run, rise, signed_percent, "perplexity")
    yield (
        Column("tokens/s", "generated, on the server that judged"),
        (_plain(tag.tokens_per_second, lambda speed: f"{speed:,.0f}") for tag in tags),
    )


def _size(tag: RunTag) -> Figure:
    return Figure(format_bytes(tag.file_bytes) if tag.file_bytes else NOTHING)


def _checks(tag: RunTag) -> Figure:
    if tag.passed is None or tag.total is None:
        return Figure(NOTHING)
    share = tag.pass_share
    return Figure(f"{tag.passed} / {tag.total}", _interval(share, percent) if share else "")


def _plain(value: float | None, written: Callable[[float], str]) -> Figure:
    return Figure(NOTHING if value is None else written(value))


def _estimates(
    run: Run,
    figure: Callable[[RunTag], Estimate | None],
    written: Callable[[float], str],
    rule: str,
) -> Iterator[Figure]:
    """The cells of an estimate, with pictures on one scale."""
    found = [figure(tag) for tag in run.tags]
    known = [e for e in found if e is not None]
    limit = limit_of(run.tags, rule)
    ends = [end for e in known for end in (e.value, e.low, e.high) if end is not None]
    for tag, estimate in zip(run.tags, found, strict=True):
        if estimate is None:
            yield Figure(NOTHING)
            continue
        scale = Scale(min(ends), max(ends), 4, SPARK)
        spark = whisker(estimate, scale, tag.standing, limit) if len(known) > 1 else _NO_PICTURE
        yield Figure(written(estimate.value), _interval(estimate, written), spark)


def _interval(estimate: Estimate, written: Callable[[float], str]) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{written(estimate.low).removesuffix(' %')} … {written(estimate.high)}"


# ---------------------------------------------------------------- by position


@dataclass(frozen=True)
class Heat:
    """The share of tokens that stay the likeliest in a stretch; `step` 0 (bad) to 7 (all)."""

    share: str
    step: int
    spoken: str


@dataclass(frozen=True)
class Positions:
    """Agreement by place in the answer: stretches of tokens x tags."""

    stretches: tuple[tuple[str, int], ...]
    rows: tuple[tuple[RunTag, tuple[Heat | None, ...]], ...]


def positions(run: Run) -> Positions | None:
    """The table by position; None where no tag has one."""
    judged = [tag for tag in run.tags if tag.agreement and tag.agreement.by_position]
    found: dict[int, Stretch] = {}
    for tag in judged:
        for one in tag.agreement.by_position if tag.agreement else ():
            known = found.get(one.first)
            if known is None or (one.positions, one.last) > (known.positions, known.last):
                found[one.first] = one
    if not found:
        return None
    firsts = sorted(found)
    stretches = tuple((_stretch(found[first]), found[first].positions) for first in firsts)
    return Positions(stretches, tuple((tag, _heats(tag, firsts)) for tag in judged))


def _heats(tag: RunTag, firsts: list[int]) -> tuple[Heat | None, ...]:
    own = {one.first: one for one in tag.agreement.by_position} if tag.agreement else {}
    return tuple(_heat(own[first]) if first in own else None for first in firsts)


def _heat(one: Stretch) -> Heat:
    step = sum(one.same_top >= bound for bound in HEAT)
    share = percent(one.same_top).removesuffix(" %")
    return Heat(share, step, f"KL {nats(one.kl)} over {one.positions} tokens")


def _stretch(one: Stretch) -> str:
    """Tokens counted from 1, as people count."""
    first, last = one.first + 1, one.last + 1
    return str(first) if first == last else f"{first}–{last}"
