"""llama.cpp's own tools as plugins: the backend `llamacpp` and the judge `llama-quantize`."""

from __future__ import annotations

from collections.abc import Iterable

from deployq import Backend, Judge, hookimpl
from deployq_llamacpp.backend import LlamaCppBackend
from deployq_llamacpp.judge import LlamaCppJudge

__all__ = ["LlamaCppBackend", "LlamaCppJudge"]


@hookimpl
def deployq_backends() -> Iterable[Backend]:
    return (LlamaCppBackend(),)


@hookimpl
def deployq_judges() -> Iterable[Judge]:
    return (LlamaCppJudge(),)
