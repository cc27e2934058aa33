"""Importance matrices: what one was made of, and what it covers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from deployq.records import dataclass


@dataclass(frozen=True)
class ImatrixFacts:
    """What an importance matrix holds.

    `rows` are the lengths of the rows that its entries are for, by tensor; `experts` how many
    matrices each has, where that is told (else a row has the values of all). `unseen` names the
    experts that no token of the text was sent to. `datasets` is how the text was called, `chunks`
    how many there were, of `chunk_tokens` each.
    """

    rows: Mapping[str, int]
    experts: Mapping[str, int]
    chunks: int
    chunk_tokens: int
    datasets: tuple[str, ...] = ()
    unseen: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Imatrix:
    """An importance matrix in the cache, read-only.

    `key` is the sha256 of what went into it (it names artifacts), `digest` that of its bytes.
    `what` says in words where it comes from. `missing` are tensors of the model that it has
    nothing for, `unseen` experts that its text never used, by tensor.
    """

    path: Path
    key: str
    digest: str
    what: str
    missing: tuple[str, ...] = ()
    unseen: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
