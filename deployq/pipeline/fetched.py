"""A source that was given by name, as a place on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from deployq.records import dataclass

Reach = Literal["download", "outline", "local"]
"""How far a source is fetched: all of it, what a plan needs, or nothing that is not here."""


@dataclass(frozen=True)
class Fetched:
    """Where it is, and its `label`: the name with all that pins it, "" for a path.

    `notes` say what was chosen; `called` is its own name, where the path's last part is none.
    """

    path: Path
    label: str = ""
    notes: tuple[str, ...] = ()
    called: str = ""
