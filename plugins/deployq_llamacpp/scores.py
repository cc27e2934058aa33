"""What llama-perplexity prints, parsed: by its labels, not by the places where they stand.

Final estimate: PPL = 1420.8000 +/- 311.56186
Mean PPL(Q)                   : 1378.722722 ± 300.949506
Mean    KLD:   0.491132 ±   0.032674
Same top p: 77.353 ± 1.311 %
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from deployq import BackendError, Measurement, TextScore

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|nan|inf)"
# The error's sign arrives as two odd characters where the tool's output is no UTF-8.
_ERROR = rf"(?:\s*(?:±|\+/-|\ufffd+)\s*(?P<error>{_NUMBER}))?"
_LINE = rf"^\s*(?P<label>[^:\n]*[^:\s])\s*:\s*(?P<value>{_NUMBER}){_ERROR}\s*(?P<percent>%?)\s*$"
_FINAL = rf"Final estimate: PPL\b[^\n]*=\s*(?P<value>{_NUMBER}){_ERROR}"
_CHUNK_ROW = r"^\s*(\d+)\s+[\d.]+\s+(?:±|\+/-|\ufffd)"
# labels of older versions -> today's
_FORMERLY = {"Average": "Mean KLD", "KLD_99": "99.0% KLD", "Same top": "Same top p"}


class NoFigure(BackendError):
    """A figure that the tool should have printed is no number."""


class LostFigure(NoFigure):
    """A figure that the tool should have printed is not there."""


def parse_final(text: str) -> Measurement:
    """The perplexity at the end of a plain run.

    Raises:
        LostFigure: there is none.
        NoFigure: it is not finite.
    """
    found = re.search(_FINAL, text)
    if not found:
        raise LostFigure("it gave no final estimate")
    return _finite("perplexity", float(found["value"]), _float(found["error"]), "")


def parse_divergence(text: str) -> tuple[TextScore, Measurement]:
    """The score of a run with `--kl-divergence`, and the perplexity of its base.

    Raises:
        LostFigure: a figure is missing.
        NoFigure: one is not finite.
    """
    figures = _figures(text)
    score = TextScore(
        perplexity=_figure(figures, "Mean PPL(Q)", "perplexity"),
        ratio=_figure(figures, "Mean PPL(Q)/PPL(base)", "times"),
        kl_divergence=_figure(figures, "Mean KLD", "nats"),
        kl_median=_value(figures, "Median KLD"),
        kl_99=_value(figures, "99.0% KLD"),
        kl_max=_value(figures, "Maximum KLD"),
        same_top=_figure(figures, "Same top p", "share"),
    )
    return score, _figure(figures, "Mean PPL(base)", "perplexity")


def parse_chunk(line: str) -> int | None:
    """The number of the chunk that a row of a `--kl-divergence` run is about."""
    found = re.match(_CHUNK_ROW, line)
    return int(found[1]) if found else None


def _figures(text: str) -> Mapping[str, Measurement]:
    """Every `label: value ± error` line; percentages become shares."""
    found: dict[str, Measurement] = {}
    for match in re.finditer(_LINE, text, re.MULTILINE):
        label = " ".join(match["label"].split())
        scale = 0.01 if match["percent"] else 1.0
        error = _float(match["error"])
        found[_FORMERLY.get(label, label)] = Measurement(
            scale * float(match["value"]), "", None if error is None else scale * error
        )
    return found


def _figure(figures: Mapping[str, Measurement], label: str, unit: str) -> Measurement:
    if label not in figures:
        raise LostFigure(f"it printed no {label!r}")
    found = figures[label]
    return _finite(label, found.value, found.error, unit)


def _value(figures: Mapping[str, Measurement], label: str) -> float | None:
    return figures[label].value if label in figures else None


def _finite(label: str, value: float, error: float | None, unit: str) -> Measurement:
    if not math.isfinite(value):
        raise NoFigure(f"its {label} is {value}: the model does not compute")
    kept = error if error is not None and math.isfinite(error) else None
    return Measurement(value, unit or label, kept)


def _float(text: str | None) -> float | None:
    return None if text is None else float(text)
