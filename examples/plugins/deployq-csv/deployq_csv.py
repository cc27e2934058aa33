"""The report format `csv`: one line per tag, for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from deployq import ReportFormat, Run, hookimpl

deployq_api = "1.0"
COLUMNS = ("tag", "quant", "file_bytes", "standing", "passed", "total", "tokens_per_second")


class Csv:
    """What a figure is not known of stays empty."""

    name = "csv"
    suffix = ".csv"

    def render(self, run: Run) -> str:
        """The header, then the tags in the order of the run."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(COLUMNS)
        rows.writerows([getattr(tag, column) for column in COLUMNS] for tag in run.tags)
        return text.getvalue()


@hookimpl
def deployq_report_formats() -> Iterable[ReportFormat]:
    return [Csv()]
