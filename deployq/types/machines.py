"""Machines and targets."""

from __future__ import annotations

from dataclasses import replace

from deployq.records import dataclass
from deployq.types.base import BandwidthSource, Goal, MemoryKind


@dataclass(frozen=True)
class Card:
    """One of several cards whose memory a model is spread over."""

    name: str
    memory_bytes: int
    available_bytes: int


@dataclass(frozen=True)
class Hardware:
    """Memory of one machine as a profiler or a preset states it; `source` says from where.

    `memory_bytes` is all of it, for unified memory too. `available_bytes` is what is free now;
    for cards it counts what Ollama itself holds as free. `reserve_bytes` is what a model can't
    have, where the profiler knows it; None: the rule for its kind.
    """

    name: str
    kind: MemoryKind
    memory_bytes: int
    available_bytes: int | None = None
    bandwidth_bytes_per_second: float | None = None
    source: str = ""
    reserve_bytes: int | None = None
    cards: tuple[Card, ...] = ()


@dataclass(frozen=True)
class Bandwidth:
    """Bytes per second that a machine reads its memory at, and how that is known.

    `how` is "stated" (the maker's figure), "read" (what all cores together were measured to
    read) or "model" (a model's tokens/s times the bytes that one token reads). `measured` is
    the UTC time of a measurement.
    """

    bytes_per_second: float
    how: BandwidthSource = "stated"
    detail: str = ""
    measured: str = ""


@dataclass(frozen=True)
class Speed:
    """Estimated tokens per second while it generates, one request at a time."""

    low: float
    likely: float
    high: float


@dataclass(frozen=True)
class Serving:
    """How a server runs every model on it.

    `parallel` requests are answered at the same time, each with a context of its own
    (OLLAMA_NUM_PARALLEL); `parallel_by` says how that is known: "given", "OLLAMA_NUM_PARALLEL"
    (set where deployq runs), the name of the runtime, or "assumed". `num_batch` is
    the number of tokens per pass that the model's parameters ask for; None: Ollama chooses.
    """

    parallel: int = 1
    parallel_by: str = "assumed"
    flash_attention: bool = True
    num_batch: int | None = None


@dataclass(frozen=True)
class Target:
    """A named machine to deploy to, fully resolved: nothing left to default.

    `reserve_bytes` is what the system keeps of `memory_bytes`. `cards` is what a model may have
    of each of several cards; together that is the budget. `goal_given` and `quants_given` tell an
    asked-for choice from a default one. `asked_ctx` is the context that was asked for, where it
    is more than Ollama loads. `drafts`: `draft_num_predict` is set, for which Ollama also loads a
    model's layers for predicting further tokens.
    """

    name: str
    kind: MemoryKind
    memory_bytes: int
    reserve_bytes: int
    n_ctx: int
    cache_type: str = "f16"
    goal: Goal = "balanced"
    goal_given: bool = False
    quants: tuple[str, ...] = ()
    host: str | None = None
    origin: str = ""
    bandwidth: Bandwidth | None = None
    cards: tuple[int, ...] = ()
    serving: Serving = Serving()
    asked_ctx: int | None = None
    drafts: bool = False

    @property
    def budget_bytes(self) -> int:
        return max(0, self.memory_bytes - self.reserve_bytes)

    def within(self, n_ctx_train: int | None) -> Target:
        """The target with the context that Ollama loads: no more than the model was trained for."""
        if not n_ctx_train or self.n_ctx <= n_ctx_train:
            return self
        return replace(self, n_ctx=n_ctx_train, asked_ctx=self.n_ctx)
