"""The words with a fixed set of values, and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

MemoryKind = Literal["ram", "vram", "unified"]
Fit = Literal["fits", "tight", "no"]
BandwidthSource = Literal["stated", "read", "model"]
Goal = Literal["balanced", "quality", "max", "memory", "research"]
StepStatus = Literal["done", "reused", "unchanged", "skipped", "warned", "failed"]
SourceFormat = Literal["gguf", "huggingface"]
Scalar = str | int | float | bool
Json = None | Scalar | Sequence["Json"] | Mapping[str, "Json"]
