"""What this runner can: a job's name, and the module and the function that do it."""

from __future__ import annotations

JOBS = {
    "versions": ("tokens", "versions"),
    "check": ("tokens", "check"),
    "convert": ("convert", "convert"),
    "adapter": ("convert", "convert_adapter"),
    "answer": ("answers", "answer"),
    "follow": ("answers", "follow"),
    "merge": ("merge", "merge"),
}
