"""llama.cpp's own tools as plugins.

The backend `llamacpp`, the judge `llama-quantize` and the engine `llama-server`.
"""

from __future__ import annotations

from collections.abc import Iterable

from deployq import Backend, Engine, Judge, hookimpl
from deployq_llamacpp.backend import LlamaCppBackend
from deployq_llamacpp.engine import LlamaServer
from deployq_llamacpp.judge import LlamaCppJudge

__all__ = ["LlamaCppBackend", "LlamaCppJudge", "LlamaServer"]


@hookimpl
def deployq_backends() -> Iterable[Backend]:
    return (LlamaCppBackend(),)


@hookimpl
def deployq_judges() -> Iterable[Judge]:
    return (LlamaCppJudge(),)


@hookimpl
def deployq_engines() -> Iterable[Engine]:
    return (LlamaServer(),)
