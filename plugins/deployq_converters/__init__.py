"""What training left: to a full-precision GGUF by llama.cpp's own scripts, and what it answers."""

from __future__ import annotations

from collections.abc import Iterable

from deployq import Completer, Converter, hookimpl
from deployq_converters.completer import TransformersCompleter
from deployq_converters.converter import LlamaCppConverter

__all__ = ["LlamaCppConverter", "TransformersCompleter"]


@hookimpl
def deployq_converters() -> Iterable[Converter]:
    return (LlamaCppConverter(),)


@hookimpl
def deployq_completers() -> Iterable[Completer]:
    return (TransformersCompleter(),)
