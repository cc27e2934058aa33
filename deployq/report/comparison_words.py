"""What changed between two runs, in words and figures."""

from __future__ import annotations

from deployq.report.page_measures import nats, percent, signed_percent
from deployq.report.wording import BAD, GOOD, plain
from deployq.types import ChangeVerdict, FigureChange, Run, RunComparison
from deployq.units import format_bytes

CHANGE_MARKS: dict[ChangeVerdict, str] = {"better": GOOD, "worse": BAD, "same": "="}


def change_verdict(found: RunComparison) -> str:
    """The verdict on two runs, in a sentence."""
    if not found.tags:
        return "no quant is in both runs"
    said = []
    for verdict, words in (("worse", "worse"), ("better", "better"), ("same", "within the noise")):
        quants = [tag.quant for tag in found.tags if tag.verdict == verdict]
        if quants:
            said.append(f"{', '.join(quants)} {words}")
    if found.gone:
        said.append(f"{', '.join(found.gone)} gone")
    if found.added:
        said.append(f"{', '.join(found.added)} new")
    return "; ".join(said)


def run_title(run: Run) -> str:
    """Which run, in a few words."""
    return f"{plain(run.name)} ({run.kind})"


def value_text(one: FigureChange, value: float) -> str:
    """A figure of one side."""
    if one.figure == "size":
        return format_bytes(round(value))
    if one.figure in ("checks", "same token"):
        return percent(value)
    if one.figure == "KL":
        return nats(value)
    return signed_percent(value - 1) if one.figure == "perplexity" else f"{value:,.0f} tokens/s"


def difference_text(one: FigureChange) -> str:
    """A difference with its interval: `-12.5 points [-26 … -1.1]`."""
    if one.figure == "size":
        return "" if one.verdict == "same" else signed_percent(one.after / one.before - 1)
    low, high = one.difference.low, one.difference.high
    value = _signed(one, one.difference.value)
    if low is None or high is None:
        return value
    return f"{value} [{_bare(_signed(one, low))} … {_bare(_signed(one, high))}]"


def _signed(one: FigureChange, value: float) -> str:
    if one.figure == "KL":
        return f"{value:+.4f}"
    if one.figure in ("checks", "same token"):
        return signed_percent(value).replace("%", "points")
    return signed_percent(value)


def _bare(text: str) -> str:
    return text.removesuffix(" points").removesuffix(" %")
