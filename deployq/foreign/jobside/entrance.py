"""The entrance: reads the job, does it, and says how it ended."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from .events import Refused, emit

JOBS = "runner.jobs"
"""Where a plugin's runner says what it can: `JOBS`, from a job's name to (module, function)."""


def main(argv: list[str]) -> int:
    """Do the job whose JSON is in the file `argv[0]`; 0 if it was done."""
    job = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    known: Mapping[str, tuple[str, str]] = importlib.import_module(JOBS).JOBS
    module, name = known[job["job"]]
    try:
        # only what this job needs is imported: PyTorch takes seconds
        getattr(importlib.import_module(f"runner.{module}"), name)(job)
    except Refused as exc:
        emit("refused", message=str(exc), check=exc.check, hint=exc.hint)
        return 3
    except Exception as exc:  # noqa: BLE001  (whatever a library raised is told to the parent)
        traceback.print_exc()
        emit("failed", kind=type(exc).__name__, message=str(exc)[:2000])
        return 4
    emit("done")
    return 0


def run() -> None:
    """Do the job and leave without the clean-up of libraries, some of which hang in it."""
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
