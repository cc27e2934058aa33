"""The formats that deployq itself has for a run: html, markdown, json, junit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass

from deployq.report.page import run_page
from deployq.report.run_junit import run_junit
from deployq.report.run_markdown import run_markdown
from deployq.types import ReportFormat, Run


@dataclass
class Format:
    """A format made of a function."""

    name: str
    suffix: str
    write: Callable[[Run], str]

    def render(self, run: Run) -> str:
        """The run's text in this format."""
        return self.write(run)


def builtin_formats() -> tuple[ReportFormat, ...]:
    """In the order in which they are named to users."""
    return (
        Format("html", ".html", run_page),
        Format("markdown", ".md", run_markdown),
        Format("json", ".json", run_json),
        Format("junit", ".xml", run_junit),
    )


def run_json(run: Run) -> str:
    """A run of any kind in one shape: the fields of `deployq.types.Run`."""
    fields = {"schema": 1, **dataclasses.asdict(run)}
    return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"
