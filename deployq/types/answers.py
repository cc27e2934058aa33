"""What plugins answer of themselves."""

from __future__ import annotations

from pathlib import Path

from deployq.records import dataclass


@dataclass(frozen=True)
class Health:
    """Is a plugin's part usable here? If not, `hint` is the command or step that mends it."""

    ok: bool
    version: str = ""
    path: Path | None = None
    detail: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Endpoint:
    """Where an Ollama API answers.

    Args:
        models_dir: its store, where that is on this machine.
        note: what the user should know of how it runs; said once.
    """

    url: str
    runtime: str
    version: str = ""
    models_dir: Path | None = None
    note: str = ""


@dataclass(frozen=True)
class Completion:
    """How a raw prompt was continued; `ended`: by the model itself, not by the limit of tokens."""

    text: str
    ended: bool = True


@dataclass(frozen=True)
class Measurement:
    """What a meter measured, in its unit."""

    value: float
    unit: str
    error: float | None = None
    detail: str = ""
