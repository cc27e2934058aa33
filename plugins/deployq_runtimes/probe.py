"""Is an Ollama API there, and what did its server say last?"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deployq_runtimes.asking import Found

PROBE_SECONDS = 5.0


def version_at(url: str, timeout_seconds: float = PROBE_SECONDS) -> str | None:
    """The version that the server at `url` states; None: nothing answers there like Ollama."""
    try:
        return probe(url, timeout_seconds).version
    except TimeoutError:
        return None


def probe(url: str, timeout_seconds: float = PROBE_SECONDS) -> Found:
    """What is at `url`.

    The HTTP stack is imported with the first question: planning asks none and must start fast.

    Raises:
        TimeoutError: no answer came in time.
    """
    found: Found = importlib.import_module("deployq_runtimes.asking").probe(url, timeout_seconds)
    return found


def last_lines(log: Path, count: int = 12, limit_bytes: int = 64 << 10) -> str:
    """The last lines of a log, for an error message; empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - limit_bytes))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-count:])
