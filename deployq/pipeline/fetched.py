"""A source that was given by name, as a place on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Fetched:
    """Where it is, and its `label`: the name with all that pins it, "" for a path.

    `notes` say what was chosen.
    """

    path: Path
    label: str = ""
    notes: tuple[str, ...] = ()
