"""What a judgement leaves behind: a folder with its document and its page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from deployq.pipeline.runs import write_page
from deployq.pipeline.session import Session
from deployq.report.quality_document import quality_document
from deployq.report.runs import QUALITY_NAME, RECOMMENDATION_NAME, new_run_dir, write_text
from deployq.types import QualityReport


def keep_quality(session: Session, report: QualityReport) -> Path:
    """Write quality.json and report.html into a run folder of its own; gives the folder.

    Raises:
        DiskError: it can't be written.
    """
    return _keep(session, quality_document(report), QUALITY_NAME)


def keep_recommendations(session: Session, document: Mapping[str, Any]) -> Path:
    """Write recommendation.json and report.html; gives the folder.

    Raises:
        DiskError: it can't be written.
    """
    return _keep(session, document, RECOMMENDATION_NAME)


def _keep(session: Session, document: Mapping[str, Any], name: str) -> Path:
    folder = new_run_dir(session.runs_dir, datetime.fromisoformat(document["started"]))
    text = json.dumps(document, indent=1, ensure_ascii=True)
    write_text(folder / name, f"{text}\n")
    write_page(folder, document)
    return folder
