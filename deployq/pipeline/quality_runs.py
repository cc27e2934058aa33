"""What a judgement leaves behind: a folder with its document."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from deployq.pipeline.session import Session
from deployq.report.quality_document import quality_document
from deployq.report.runs import new_run_dir, write_text
from deployq.types import QualityReport

QUALITY_NAME = "quality.json"


def keep_quality(session: Session, report: QualityReport) -> Path:
    """Write quality.json into a run folder of its own; gives the folder.

    Raises:
        DiskError: it can't be written.
    """
    folder = new_run_dir(session.runs_dir, datetime.fromisoformat(report.started))
    text = json.dumps(quality_document(report), indent=1, ensure_ascii=True)
    write_text(folder / QUALITY_NAME, f"{text}\n")
    return folder
