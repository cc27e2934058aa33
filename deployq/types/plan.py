"""A plan: sizes, memory, verdicts, disk."""

from __future__ import annotations

from pathlib import Path

from deployq.records import dataclass
from deployq.types.base import Fit
from deployq.types.machines import Speed, Target
from deployq.types.source import ModelInfo


@dataclass(frozen=True)
class Memory:
    """Predicted memory of a loaded model, in bytes.

    On a card, `host_bytes` is what lies in the machine's main memory beside it, and counts in no
    other figure. On several, `compute_bytes` counts the buffer of each of the `cards` that are
    used, and the `unused_bytes` that they keep empty because a layer is not split. `n_batch` is
    the number of tokens in the largest pass, for which the buffers are; 0: not known.
    `unlisted_bytes` are those of the KV cache that Ollama's `/api/ps` leaves out.
    """

    weights_bytes: int
    kv_cache_bytes: int
    compute_bytes: int
    host_bytes: int = 0
    cards: int = 1
    unused_bytes: int = 0
    n_batch: int = 0
    unlisted_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.kv_cache_bytes + self.compute_bytes


@dataclass(frozen=True)
class QuantSize:
    """Exact size of one quant of one model; `by` names who computed it.

    `estimate`: not exact to the byte, because the model was not converted yet.
    """

    quant: str
    file_bytes: int
    bits_per_weight: float
    fallback_tensors: int = 0
    by: str = "deployq"
    estimate: bool = False


@dataclass(frozen=True)
class Offload:
    """A model shared between a card and the machine's own memory; an estimate.

    `gpu_layers` counts as llama.cpp's -ngl and Ollama's num_gpu do: the output is one layer too.
    `slowdown` is how many times slower it generates than wholly on the card; None: not known.
    """

    gpu_layers: int
    layers: int
    vram_bytes: int
    ram_bytes: int
    slowdown: float | None = None


@dataclass(frozen=True)
class Candidate:
    """One quant weighed against one target.

    `max_context` is the largest context in tokens that would fit, 0 if none does, at most what
    the model was trained for. `offload` says what a card that is too small would hold of the
    quant that is worth sharing with RAM.
    """

    size: QuantSize
    memory: Memory
    verdict: Fit
    reason: str
    speed: Speed | None = None
    max_context: int | None = None
    offload: Offload | None = None

    @property
    def quant(self) -> str:
        return self.size.quant


@dataclass(frozen=True)
class Judged:
    """One of deployq's figures, and what a real tool says of the same thing, in bytes."""

    what: str
    own_bytes: int
    judge_bytes: int
    judge: str

    @property
    def difference(self) -> float:
        """How much deployq's own figure is over (or under, if negative) the tool's: 0.01 is 1 %."""
        return self.own_bytes / self.judge_bytes - 1 if self.judge_bytes else 0.0


@dataclass(frozen=True)
class TargetPlan:
    """Every candidate of one target, the chosen quant, and those that will be built.

    `advice` are sentences on what else could be had on it, and what it takes.
    """

    target: Target
    candidates: tuple[Candidate, ...]
    chosen: str | None
    why: str
    build: tuple[str, ...]
    advice: tuple[str, ...] = ()


@dataclass(frozen=True)
class DiskStep:
    """Bytes that one step of a push leaves on disk; `where` is a `FileSystem.name`."""

    what: str
    needed_bytes: int
    where: str = ""


@dataclass(frozen=True)
class FileSystem:
    """One file system that a push writes to; `name` says what of deployq or Ollama lies there."""

    name: str
    path: Path
    needed_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class DiskPlan:
    """Peak disk of a push: nothing that a step writes is gone before the last one has ended.

    `needed_bytes` is the sum over this machine's file systems, `free_bytes` what is free where
    artifacts go. Steps on other machines' disks stand in no file system of `filesystems`.
    """

    needed_bytes: int
    free_bytes: int
    steps: tuple[DiskStep, ...]
    filesystems: tuple[FileSystem, ...] = ()

    @property
    def enough(self) -> bool:
        """Whether every file system has the room."""
        if self.filesystems:
            return all(fs.needed_bytes <= fs.free_bytes for fs in self.filesystems)
        return self.needed_bytes <= self.free_bytes


@dataclass(frozen=True)
class Plan:
    """What a push would do: `plan` and `--dry-run` print it.

    `upper_bound`: the memory figures are no prediction, only a limit from above. `notes` say
    what the figures rest on; unlike `warnings` they ask for no decision.
    `judged` holds a real tool's figures beside deployq's own, where it was asked.
    """

    model: str
    source: ModelInfo
    targets: tuple[TargetPlan, ...]
    disk: DiskPlan
    warnings: tuple[str, ...] = ()
    upper_bound: bool = False
    notes: tuple[str, ...] = ()
    judged: tuple[Judged, ...] = ()

    @property
    def quants(self) -> tuple[str, ...]:
        """The distinct quants to build, over all targets, in the order of first mention."""
        return tuple(dict.fromkeys(q for target in self.targets for q in target.build))
