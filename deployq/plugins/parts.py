"""What the objects must have that a plugin brings for a hook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployq.types import (
    Backend,
    Calibrator,
    CheckType,
    Completer,
    Converter,
    Engine,
    Judge,
    Meter,
    Profiler,
    ReportFormat,
    Runtime,
)

SHAPES: Mapping[str, Any] = {
    "deployq_backends": Backend,
    "deployq_calibrators": Calibrator,
    "deployq_checks": CheckType,
    "deployq_completers": Completer,
    "deployq_converters": Converter,
    "deployq_engines": Engine,
    "deployq_judges": Judge,
    "deployq_meters": Meter,
    "deployq_profilers": Profiler,
    "deployq_report_formats": ReportFormat,
    "deployq_runtimes": Runtime,
}
"""The hooks that bring objects, and the protocol of each."""


def lacking(part: object, hook: str) -> list[str]:
    """What an object has not that its protocol names."""
    shape = SHAPES[hook]
    members = {*shape.__annotations__, *(name for name in vars(shape) if name[0] != "_")}
    missing = sorted(name for name in members if not hasattr(part, name))
    name = getattr(part, "name", None)
    if "name" not in missing and not (isinstance(name, str) and name):
        missing.append("a name that is a text")
    return missing
