"""What llama-quantize prints, parsed.

A tensor's line, while quantizing, in a dry run, and where a tensor is left as it is:

    [   3/  21] blk.0.attn_k.weight - [  256,   128,     1,     1], type =  f16, converting ...
    [   3/  21] blk.0.attn_k.weight - [ ... ], type =  f16, size =  0.06 MiB ->  0.02 MiB (q4_K)
    [   2/  21] output_norm.weight  - [   256,      1,      1,      1], type =    f32, size = ...
"""

from __future__ import annotations

import re
from typing import NamedTuple

# `re` compiles each when it is first used: most commands never come to it.
_COUNT = r"^\[\s*(\d+)/\s*(\d+)\]"
_TENSOR = (
    r"^\[\s*\d+/\s*\d+\]\s+(?P<name>\S+)\s+- \[(?P<shape>[\s\d,]+)\],\s+type =\s+(?P<old>\w+),"
    r"\s+size =.*?MiB(?:\s+->.*MiB \((?P<new>\w+)\))?\s*$"
)
_FALLBACKS = r"(\d+) of \d+ tensor\(s\) required fallback"
_TYPE = r"^\s*\d+\s+or\s+(\w+)\s*:(?!\s*alias for)"


class PlannedTensor(NamedTuple):
    """A tensor as a dry run announces it: GGUF's dimension order, no trailing ones; final type."""

    name: str
    shape: tuple[int, ...]
    type: str


def parse_count(line: str) -> tuple[int, int] | None:
    """Which tensor of how many a line is about."""
    found = re.match(_COUNT, line)
    return (int(found[1]), int(found[2])) if found else None


def parse_planned(line: str) -> PlannedTensor | None:
    """The tensor that a dry run's line announces; None: it is another kind of line."""
    found = re.match(_TENSOR, line)
    if not found:
        return None
    shape = [int(extent) for extent in found["shape"].split(",") if extent.strip()]
    while len(shape) > 1 and shape[-1] == 1:
        shape.pop()
    return PlannedTensor(found["name"], tuple(shape), (found["new"] or found["old"]).upper())


def parse_fallbacks(text: str) -> int:
    """How many tensors did not get the type that the mix foresaw for them."""
    found = re.search(_FALLBACKS, text)
    return int(found[1]) if found else 0


def parse_types(help_text: str) -> frozenset[str]:
    """The quants that `--help` lists, without aliases and COPY."""
    return frozenset(re.findall(_TYPE, help_text, re.MULTILINE))
