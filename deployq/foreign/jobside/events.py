"""Events for the parent process."""

from __future__ import annotations

import json
import sys
from typing import Any

SEPARATOR = "\x1e"


class Refused(Exception):
    """The job can't be done, for a reason that is named; `check` is one of deployq's own names."""

    def __init__(self, message: str, check: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.check = check
        self.hint = hint


def emit(event: str, **values: Any) -> None:
    """One event; standard output is flushed, so that it arrives at once."""
    line = json.dumps({"event": event, **values})
    sys.stdout.write(f"\n{SEPARATOR}{line}\n")
    sys.stdout.flush()
