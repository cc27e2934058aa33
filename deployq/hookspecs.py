"""The pluggy hook specifications; project name `deployq`, entry-point group `deployq`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from deployq.types import (
        Backend,
        Calibrator,
        CheckType,
        Completer,
        Converter,
        Engine,
        Json,
        Judge,
        Meter,
        ModelInfo,
        Plan,
        Profiler,
        Report,
        ReportFormat,
        Runtime,
        StepResult,
        Target,
    )

PROJECT = "deployq"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def deployq_backends() -> Iterable[Backend]:
    """Quantizers that this plugin brings."""
    return ()


@hookspec
def deployq_converters() -> Iterable[Converter]:
    """Converters from a source to a full-precision GGUF."""
    return ()


@hookspec
def deployq_judges() -> Iterable[Judge]:
    """Real tools that can be asked for exact sizes and memory."""
    return ()


@hookspec
def deployq_profilers() -> Iterable[Profiler]:
    """What this machine has, and presets of well-known machines."""
    return ()


@hookspec
def deployq_checks() -> Iterable[CheckType]:
    """Verification assertions, by name."""
    return ()


@hookspec
def deployq_meters() -> Iterable[Meter]:
    """Measurements of an artifact: on a text, against full precision, or of its speed."""
    return ()


@hookspec
def deployq_calibrators() -> Iterable[Calibrator]:
    """Makers of importance matrices."""
    return ()


@hookspec
def deployq_completers() -> Iterable[Completer]:
    """Ways to let a GGUF file answer without a server."""
    return ()


@hookspec
def deployq_runtimes() -> Iterable[Runtime]:
    """Ways to get an Ollama endpoint."""
    return ()


@hookspec
def deployq_engines() -> Iterable[Engine]:
    """Ways to run a GGUF file directly, with no Ollama in between."""
    return ()


@hookspec
def deployq_report_formats() -> Iterable[ReportFormat]:
    """Formats to write a report in."""
    return ()


@hookspec
def deployq_template_dirs() -> Iterable[Path]:
    """Folders with Modelfile templates; they are searched before deployq's own."""
    return ()


@hookspec
def deployq_modelfile_context(
    model: ModelInfo, target: Target | None, quant: str, context: Mapping[str, Json]
) -> Mapping[str, Json] | None:
    """More variables for a Modelfile template; `target` is None for a quant tag."""


@hookspec
def deployq_push_started(plan: Plan) -> None:
    """A push starts to carry out `plan`."""


@hookspec
def deployq_step_finished(plan: Plan, result: StepResult) -> None:
    """One step of a push has ended, well or not."""


@hookspec
def deployq_push_finished(report: Report) -> None:
    """A push has ended, well or not."""


@hookspec(firstresult=True)
def deployq_choose_backend(source: ModelInfo, quant: str, names: Sequence[str]) -> str | None:
    """The backend, one of `names`, that shall make `quant`; None: no opinion."""
