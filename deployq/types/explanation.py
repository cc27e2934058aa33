"""The arithmetic of a plan, line by line."""

from __future__ import annotations

from deployq.records import dataclass
from deployq.types.machines import Target
from deployq.types.plan import Candidate


@dataclass(frozen=True)
class TensorGroup:
    """Tensors of one role that get one type."""

    role: str
    type: str
    tensors: int
    n_elements: int
    data_bytes: int


@dataclass(frozen=True)
class Term:
    """One line of a sum: what it is, how it comes about, and its bytes."""

    what: str
    formula: str
    term_bytes: int


@dataclass(frozen=True)
class Explanation:
    """The arithmetic behind one candidate, line by line; the terms add up to its figures."""

    target: Target
    candidate: Candidate
    groups: tuple[TensorGroup, ...]
    file: tuple[Term, ...]
    kv_cache: tuple[Term, ...]
    compute: tuple[Term, ...]
    weights: tuple[Term, ...] = ()
