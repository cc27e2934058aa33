"""Profilers: what memory this machine has, and presets of well-known machines."""

from __future__ import annotations

from collections.abc import Iterable

from deployq import Profiler, hookimpl
from deployq_profilers.apple import Apple
from deployq_profilers.nvidia import Nvidia
from deployq_profilers.ram import Ram

__all__ = ["Apple", "Nvidia", "Ram", "deployq_profilers"]


@hookimpl
def deployq_profilers() -> Iterable[Profiler]:
    """Those with a fast memory of its own first: whoever wants the best takes the first answer."""
    return (Apple(), Nvidia(), Ram())
