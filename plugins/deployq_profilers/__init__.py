"""Profilers: what memory this machine has, and presets of well-known machines."""

from __future__ import annotations

from collections.abc import Iterable

from deployq import Meter, Profiler, hookimpl
from deployq_profilers.amd import Amd
from deployq_profilers.apple import Apple
from deployq_profilers.bench import Bench
from deployq_profilers.nvidia import Nvidia
from deployq_profilers.ram import Ram

__all__ = ["Amd", "Apple", "Bench", "Nvidia", "Ram", "deployq_meters", "deployq_profilers"]


@hookimpl
def deployq_profilers() -> Iterable[Profiler]:
    """Those with a fast memory of its own first: whoever wants the best takes the first answer."""
    return (Apple(), Nvidia(), Amd(), Ram())


@hookimpl
def deployq_meters() -> Iterable[Meter]:
    """Tokens per second, by llama-bench."""
    return (Bench(),)
