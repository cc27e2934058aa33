"""What this runner can: a job's name, and the module and the function that do it."""

from __future__ import annotations

JOBS = {
    "versions": ("versions", "versions"),
    "merge": ("merge", "merge"),
    "export": ("export", "export"),
}
