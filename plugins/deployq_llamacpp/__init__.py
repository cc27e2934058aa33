"""llama.cpp's own tools as plugins.

The backend `llamacpp` (quantize), the judge `llama-quantize` (exact sizes, memory), the meters
`perplexity` and `speed`, the calibrator `llama-imatrix`, the completer and the engine
`llama-server`.
"""

from __future__ import annotations

from collections.abc import Iterable

from deployq import Backend, Calibrator, Completer, Engine, Judge, Meter, hookimpl
from deployq_llamacpp.backend import LlamaCppBackend
from deployq_llamacpp.completer import LlamaCppCompleter
from deployq_llamacpp.imatrix import LlamaCppCalibrator
from deployq_llamacpp.judge import LlamaCppJudge
from deployq_llamacpp.perplexity import Perplexity
from deployq_llamacpp.raw import LlamaServer
from deployq_llamacpp.speed import Speed

__all__ = [
    "LlamaCppBackend",
    "LlamaCppCalibrator",
    "LlamaCppCompleter",
    "LlamaCppJudge",
    "LlamaServer",
    "Perplexity",
    "Speed",
]


@hookimpl
def deployq_backends() -> Iterable[Backend]:
    return (LlamaCppBackend(),)


@hookimpl
def deployq_judges() -> Iterable[Judge]:
    return (LlamaCppJudge(),)


@hookimpl
def deployq_meters() -> Iterable[Meter]:
    return (Perplexity(), Speed())


@hookimpl
def deployq_calibrators() -> Iterable[Calibrator]:
    return (LlamaCppCalibrator(),)


@hookimpl
def deployq_completers() -> Iterable[Completer]:
    return (LlamaCppCompleter(),)


@hookimpl
def deployq_engines() -> Iterable[Engine]:
    return (LlamaServer(),)
