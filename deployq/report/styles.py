"""Verdicts and states in the colours of a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from deployq.report.wording import FIT_MARKS, FIT_STYLES
from deployq.types import Fit, StepStatus

STATUS_STYLES: Mapping[StepStatus, str] = {
    "done": "green",
    "reused": "cyan",
    "unchanged": "cyan",
    "skipped": "yellow",
    "warned": "yellow",
    "failed": "red",
}


def fit_text(fit: Fit) -> Text:
    """A verdict with its mark."""
    return Text(FIT_MARKS[fit], style=FIT_STYLES[fit])


def status_text(status: StepStatus) -> Text:
    return Text(status, style=STATUS_STYLES[status])
