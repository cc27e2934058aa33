"""A folder for each run: `.deployq/runs/<UTC time>/` with its document and its page."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from deployq.errors import DiskError
from deployq.files import write_whole
from deployq.report.documents import report_document
from deployq.types import Report

REPORT_NAME = "report.json"
QUALITY_NAME = "quality.json"
RECOMMENDATION_NAME = "recommendation.json"
PAGE_NAME = "report.html"


def new_run_dir(root: Path, when: datetime) -> Path:
    """Make a folder of its own for a run.

    Args:
        root: the folder of all runs, `.deployq/runs`; made where it is missing.
        when: the start of the run; an aware time, any zone.

    Returns:
        `root/2026-11-25T01-50-03Z`, with `-2` and so on where that is taken. Names sort by time,
        and hold no colon, which Windows does not take.

    Raises:
        DiskError: it can't be made.
    """
    name = when.astimezone(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    try:
        root.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            folder = root / (name if number == 1 else f"{name}-{number}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    except OSError as exc:
        raise DiskError(f"cannot make a folder for this run in {root}: {exc.strerror}") from exc
    raise AssertionError("count() ends")


def write_report(run_dir: Path, report: Report) -> Path:
    """Write report.json, whole or not at all; returns its path.

    Raises:
        DiskError: it can't be written.
    """
    text = json.dumps(report_document(report), indent=2, ensure_ascii=True)
    return write_text(run_dir / REPORT_NAME, f"{text}\n")


def write_text(path: Path, text: str) -> Path:
    """Write a file of a run, whole or not at all; returns its path.

    Raises:
        DiskError: it can't be written.
    """
    try:
        write_whole(path, text)
    except OSError as exc:
        raise DiskError(f"cannot write {path}: {exc.strerror}") from exc
    return path
