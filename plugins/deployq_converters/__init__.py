"""From what training left to a full-precision GGUF, with llama.cpp's own converter scripts."""

from __future__ import annotations

from collections.abc import Iterable

from deployq import Converter, hookimpl
from deployq_converters.converter import LlamaCppConverter

__all__ = ["LlamaCppConverter"]


@hookimpl
def deployq_converters() -> Iterable[Converter]:
    return (LlamaCppConverter(),)
