"""Measurements of artifacts on a text and on this machine, and what they are measured with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from deployq.records import dataclass
from deployq.types.answers import Measurement


@dataclass(frozen=True)
class MeterText:
    """A text to measure on, UTF-8.

    `special`: it was rendered through the model's chat template, so the control tokens that stand
    in it are tokens; in any other text they are letters. `name` says in words what it is.
    """

    path: Path
    special: bool = False
    name: str = ""


@dataclass(frozen=True)
class TextOptions:
    """How a text is cut: chunks of `n_ctx` tokens, at most `max_chunks` of them.

    `n_ctx` None: 512, or less where the text is too short for that.
    """

    n_ctx: int | None = None
    max_chunks: int = 64
    threads: int | None = None


@dataclass(frozen=True)
class TextScore:
    """What a quant makes of a text; each error is the tool's own standard error.

    `kl_divergence` (nats) is to full precision, per token: mean, median, 99th percentile and
    maximum; `same_top` the share (0 to 1) of tokens whose likeliest next token is the same;
    `ratio` the perplexity over that of full precision. All None for full precision itself.
    """

    perplexity: Measurement
    ratio: Measurement | None = None
    kl_divergence: Measurement | None = None
    kl_median: float | None = None
    kl_99: float | None = None
    kl_max: float | None = None
    same_top: Measurement | None = None


@dataclass(frozen=True)
class Comparison:
    """Several files scored on one text, by their names; `baseline` is full precision's score.

    `tokens` are those that were scored, `by` names the tool and its version.
    """

    n_ctx: int
    chunks: int
    tokens: int
    by: str
    baseline: TextScore
    scores: Mapping[str, TextScore] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SpeedOptions:
    """What a benchmark runs: prompt and answer in tokens, the context that is loaded, repeats."""

    prompt_tokens: int = 512
    generated_tokens: int = 128
    n_ctx: int = 4096
    repeats: int = 5
    threads: int | None = None


@dataclass(frozen=True)
class Samples:
    """Repeats of one figure, in the order in which they were taken."""

    values: tuple[float, ...]
    unit: str

    @property
    def median(self) -> float:
        ordered = sorted(self.values)
        middle = len(ordered) // 2
        return ordered[middle] if len(ordered) % 2 else sum(ordered[middle - 1 : middle + 1]) / 2

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


@dataclass(frozen=True)
class Speeds:
    """One file on this machine: tokens/s for a prompt and an answer, and what loading takes.

    `load_seconds` is from the start of the engine until it would answer; `cold`: the file was
    dropped from the system's cache before. `memory_bytes` is what the engine says that it
    allocated: weights, KV cache and buffers. `device` is the engine's backend ("CPU", "CUDA").
    """

    prompt: Samples
    generation: Samples
    load_seconds: Samples
    memory_bytes: int | None
    cold: bool
    device: str
    by: str


@dataclass(frozen=True)
class MeasuredRow:
    """One file of a measurement: a quant, with or without an importance matrix."""

    quant: str
    file_bytes: int
    bits_per_weight: float
    imatrix: str = ""
    score: TextScore | None = None
    speeds: Speeds | None = None
    figure: Measurement | None = None

    @property
    def name(self) -> str:
        return f"{self.quant} + imatrix" if self.imatrix else self.quant


@dataclass(frozen=True)
class MeasureReport:
    """Quants of a model measured on a text; the first row is full precision.

    `text` says in words what was measured on. `meter` names the figure of rows that carry one.
    """

    model: str
    text: str
    rows: tuple[MeasuredRow, ...]
    comparison: Comparison | None = None
    meter: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BenchReport:
    """The table of a model's quants on this machine; the first row is full precision."""

    model: str
    machine: str
    options: SpeedOptions
    rows: tuple[MeasuredRow, ...]
    text: str = ""
    comparison: Comparison | None = None
    notes: tuple[str, ...] = ()
