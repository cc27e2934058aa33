"""The records and protocols that flow between the rooms of deployq.

Every record is a frozen dataclass; a figure carries its unit in its name (`file_bytes`,
`load_seconds`). Rooms never import one another: what one needs of another stands here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

MemoryKind = Literal["ram", "vram", "unified"]
Fit = Literal["fits", "tight", "no"]
BandwidthSource = Literal["stated", "read", "model"]
Goal = Literal["balanced", "quality", "max", "memory", "research"]
StepStatus = Literal["done", "reused", "unchanged", "skipped", "failed"]
SourceFormat = Literal["gguf", "huggingface"]
Scalar = str | int | float | bool
Json = None | Scalar | Sequence["Json"] | Mapping[str, "Json"]

# ---------------------------------------------------------------- source


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a GGUF header.

    `shape` is in GGUF's own order: `shape[0]` is the row length that block sizes divide.
    """

    name: str
    shape: tuple[int, ...]
    type: str

    @property
    def n_elements(self) -> int:
        count = 1
        for extent in self.shape:
            count *= extent
        return count


@dataclass(frozen=True)
class ModelInfo:
    """What a header says of a model; no weights are read for it.

    `metadata` holds the scalar keys and strings; an array is kept as its length under
    `array_lengths`, and where it is numeric and short (per-layer figures) in `arrays` too.
    `header_bytes` are the bytes before the tensor data in the one file that llama-quantize
    would write of it, `dtype` is the type that holds most weights. `format` is "huggingface" for
    a folder that was never converted: `tensors` and `metadata` are then those that its GGUF would
    have, and `estimate` says what of it is no more than an estimate. `projector_bytes` are the
    weights of a projector for images or sound beside the model. `warnings` name what is odd.
    """

    path: Path
    files: tuple[Path, ...]
    architecture: str
    name: str
    dtype: str
    quantized: bool
    n_params: int
    n_ctx_train: int | None
    header_bytes: int
    file_bytes: int
    metadata: Mapping[str, Scalar]
    array_lengths: Mapping[str, int]
    tensors: tuple[TensorInfo, ...]
    chat_template: str | None = None
    bos_token: str | None = None
    eos_token: str | None = None
    stop_tokens: tuple[str, ...] = ()
    arrays: Mapping[str, tuple[int | float | bool, ...]] = field(default_factory=dict)
    format: SourceFormat = "gguf"
    estimate: str = ""
    projector_bytes: int = 0
    warnings: tuple[str, ...] = ()


# ---------------------------------------------------------------- hardware and targets


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
class Target:
    """A named machine to deploy to, fully resolved: nothing left to default.

    `reserve_bytes` is what the system keeps of `memory_bytes`. `goal_given` and `quants_given`
    tell an asked-for choice from a default one.
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

    @property
    def budget_bytes(self) -> int:
        return max(0, self.memory_bytes - self.reserve_bytes)


# ---------------------------------------------------------------- plan


@dataclass(frozen=True)
class Memory:
    """Predicted memory of a loaded model, in bytes."""

    weights_bytes: int
    kv_cache_bytes: int
    compute_bytes: int

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
    the model was trained for (or what was asked for, if that is more). `offload` says what a
    card that is too small would hold of the quant that is worth sharing with RAM.
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


@dataclass(frozen=True)
class Share:
    """One of several models that are kept loaded on one target."""

    model: str
    candidate: Candidate
    n_ctx: int


@dataclass(frozen=True)
class TogetherPlan:
    """Several models kept loaded on one target: which quant of each, `verdict` on their sum.

    `extra_bytes` is what every further model's process takes beside its own memory. Where
    nothing fits, `shares` are the smallest.
    """

    target: Target
    shares: tuple[Share, ...]
    extra_bytes: int
    verdict: Fit
    why: str

    @property
    def total_bytes(self) -> int:
        return self.extra_bytes + sum(s.candidate.memory.total_bytes for s in self.shares)


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


# ---------------------------------------------------------------- the lesson's tables


@dataclass(frozen=True)
class GuideFit:
    """One cell of a table: what is said of a model on a machine, and what the planner says.

    `why` names what makes the difference where the two don't agree.
    """

    machine: str
    model: str
    claim: Fit
    candidate: Candidate
    n_ctx: int
    budget_bytes: int
    why: str = ""


@dataclass(frozen=True)
class GuideSize:
    """One quant of the 7B model: what is said of its file, and its exact size."""

    quant: str
    claimed_bytes: int
    claimed_bits: float
    size: QuantSize


@dataclass(frozen=True)
class GuideChoice:
    """One line of the decision guide: the quants that are advised, and the goal that takes one."""

    situation: str
    advised: tuple[str, ...]
    goal: Goal
    chosen: str


@dataclass(frozen=True)
class Guide:
    """Tables of fits by title, the sizes of the 7B model, and the decision guide."""

    fits: Mapping[str, tuple[GuideFit, ...]]
    sizes: tuple[GuideSize, ...]
    choices: tuple[GuideChoice, ...]


# ---------------------------------------------------------------- artifacts


@dataclass(frozen=True)
class QuantizeJob:
    """One file for a backend to write.

    `source` is a full-precision GGUF (the first part of a split one), `output` a path in an
    existing folder where nothing stands yet. `threads` None means: the backend's default.
    """

    source: Path
    quant: str
    output: Path
    threads: int | None = None
    allow_requantize: bool = False


@dataclass(frozen=True)
class Artifact:
    """A finished, read-only GGUF in the store.

    `key` is the sha256 of what went into it, `digest` the sha256 (hex) of its bytes.
    """

    path: Path
    quant: str
    key: str
    digest: str
    file_bytes: int
    backend: str
    backend_version: str
    seconds: float = 0.0
    reused: bool = False


# ---------------------------------------------------------------- plugins' answers


@dataclass(frozen=True)
class Health:
    """Is a plugin's part usable here? If not, `hint` is the command or step that mends it."""

    ok: bool
    version: str = ""
    path: Path | None = None
    detail: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Endpoint:
    """Where an Ollama API answers; `models_dir` is its store where that is on this machine."""

    url: str
    runtime: str
    version: str = ""
    models_dir: Path | None = None


@dataclass(frozen=True)
class Measurement:
    value: float
    unit: str
    error: float | None = None
    detail: str = ""


# ---------------------------------------------------------------- verification


@dataclass(frozen=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True)
class Prompt:
    """One verification prompt: a conversation, its options, and the checks on its answer.

    `checks` maps a check's name to its parameters. `format` is Ollama's `format` field.
    """

    name: str
    messages: tuple[Message, ...]
    options: Mapping[str, Json] = field(default_factory=dict)
    checks: Mapping[str, Json] = field(default_factory=dict)
    format: Json = None
    think: bool | str = False


@dataclass(frozen=True)
class Answer:
    """What the server answered, with its own counts; seconds are the server's where it has them.

    `ttft` and friends belong to later measurements; `wall_seconds` is the client's clock.
    """

    text: str
    done_reason: str
    prompt_tokens: int
    tokens: int
    eval_seconds: float
    load_seconds: float
    wall_seconds: float
    thinking: str = ""
    raw: Mapping[str, Json] = field(default_factory=dict)

    @property
    def tokens_per_second(self) -> float | None:
        """Generation speed; None where it means nothing (one token, no duration)."""
        return self.tokens / self.eval_seconds if self.tokens > 1 and self.eval_seconds else None


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check; `reason` says in words what was wrong."""

    check: str
    ok: bool
    reason: str = ""


@dataclass(frozen=True)
class PromptResult:
    prompt: Prompt
    answer: Answer | None
    verdicts: tuple[Verdict, ...]

    @property
    def ok(self) -> bool:
        return self.answer is not None and all(v.ok for v in self.verdicts)


@dataclass(frozen=True)
class Verification:
    """A suite run against one tag. It passed when the share of good prompts is >= `threshold`."""

    suite: str
    tag: str
    threshold: float
    results: tuple[PromptResult, ...]
    seconds: float
    suite_digest: str = ""

    @property
    def passed(self) -> int:
        return sum(result.ok for result in self.results)

    @property
    def ok(self) -> bool:
        return bool(self.results) and self.passed >= self.threshold * len(self.results)

    @property
    def tokens_per_second(self) -> float | None:
        """All generated tokens over all generation seconds, as the server counts them."""
        answers = [r.answer for r in self.results if r.answer and r.answer.tokens_per_second]
        seconds = sum(a.eval_seconds for a in answers)
        return sum(a.tokens for a in answers) / seconds if seconds else None


# ---------------------------------------------------------------- report


@dataclass(frozen=True)
class StepResult:
    """One step of the way of one tag: inspect, quantize, upload, create, verify, promote."""

    step: str
    status: StepStatus
    seconds: float = 0.0
    bytes: int = 0
    detail: str = ""


@dataclass(frozen=True)
class Score:
    """How a tag did in its suite; kept by the lockfile for tags that a push leaves alone."""

    passed: int
    total: int
    ok: bool
    tokens_per_second: float | None = None


@dataclass(frozen=True)
class TagReport:
    """What became of one tag (or alias) on one server.

    `earlier` is the score of an earlier push, where this one had nothing to do.
    """

    tag: str
    quant: str
    status: StepStatus
    file_bytes: int
    blob_digest: str = ""
    modelfile_digest: str = ""
    n_ctx: int | None = None
    reason: str = ""
    hint: str = ""
    exit_code: int = 0
    steps: tuple[StepResult, ...] = ()
    verification: Verification | None = None
    alias_of: str | None = None
    earlier: Score | None = None

    @property
    def score(self) -> Score | None:
        """The score of this push, else that of an earlier one."""
        checked = self.verification
        if checked is None:
            return self.earlier
        total = len(checked.results)
        return Score(checked.passed, total, checked.ok, checked.tokens_per_second)

    manifest_digest: str = ""


@dataclass(frozen=True)
class TargetReport:
    target: str
    host: str
    runtime: str
    status: StepStatus
    chosen: str | None
    alias: TagReport | None
    tags: tuple[TagReport, ...]
    reason: str = ""
    hint: str = ""
    exit_code: int = 0


@dataclass(frozen=True)
class Report:
    """The outcome of one push."""

    model: str
    plan: Plan
    targets: tuple[TargetReport, ...]
    started: str
    seconds: float
    run_dir: Path | None = None

    @property
    def exit_code(self) -> int:
        """That of the first target that failed, in the order asked for."""
        return next((t.exit_code for t in self.targets if t.exit_code), 0)


@dataclass(frozen=True)
class HeldTag:
    """One tag as a server holds it, and what the lockfile knows of it.

    `made_here` says that the lockfile has it, `changed` that the server's is no longer the one
    that was pushed. `size_bytes` counts all layers, shared ones too.
    """

    tag: str
    host: str
    quant: str
    size_bytes: int
    manifest_digest: str
    modified: str = ""
    made_here: bool = False
    changed: bool = False
    alias_of: str | None = None
    n_ctx: int | None = None
    passed: int | None = None
    total: int | None = None
    tokens_per_second: float | None = None
    pushed_at: str | None = None


# ---------------------------------------------------------------- protocols


class Progress(Protocol):
    """Called as work goes on; must be cheap and must not raise.

    `task` names what is worked on ("Q4_K_M"), `done` and `total` count in `unit`
    ("tensors", "bytes", "prompts"). `total` None: not known. The last call has done == total.
    """

    def __call__(self, task: str, done: float, total: float | None, unit: str) -> None: ...


def no_progress(task: str, done: float, total: float | None, unit: str) -> None:
    """A `Progress` that shows nothing."""


@runtime_checkable
class Backend(Protocol):
    """A quantizer: writes each job's `output`, or raises `BackendError` and leaves no file."""

    name: str

    def health(self) -> Health: ...
    def quants(self) -> frozenset[str]: ...
    def quantize(self, jobs: Sequence[QuantizeJob], progress: Progress) -> None: ...


@runtime_checkable
class Converter(Protocol):
    """Turns a source into a full-precision GGUF."""

    name: str

    def accepts(self, source: Path) -> bool: ...
    def health(self) -> Health: ...
    def convert(self, source: Path, output: Path, dtype: str, progress: Progress) -> None: ...


@runtime_checkable
class Judge(Protocol):
    """Asks a real tool for exact figures; None where it can't tell."""

    name: str

    def health(self) -> Health: ...
    def file_bytes(self, gguf: Path, quant: str) -> QuantSize | None: ...
    def memory(self, gguf: Path, n_ctx: int, cache_type: str) -> Memory | None: ...


@runtime_checkable
class Profiler(Protocol):
    """Looks at this machine, and knows others by name."""

    name: str

    def detect(self) -> Hardware | None: ...
    def presets(self) -> Mapping[str, Hardware]: ...


@runtime_checkable
class MeasuringProfiler(Protocol):
    """A profiler that can also measure how fast this machine reads its memory, in bytes/s."""

    name: str

    def detect(self) -> Hardware | None: ...
    def presets(self) -> Mapping[str, Hardware]: ...
    def measure(self, progress: Progress) -> Measurement: ...


@runtime_checkable
class CheckType(Protocol):
    """A verification assertion. `schema` is the JSON schema of its parameters."""

    name: str
    schema: Mapping[str, Json]

    def check(self, answer: Answer, prompt: Prompt, params: Json) -> Verdict: ...


@runtime_checkable
class Meter(Protocol):
    """Measures something of an artifact on a text."""

    name: str
    unit: str

    def health(self) -> Health: ...
    def measure(self, artifact: Path, text: Path, progress: Progress) -> Measurement: ...


@runtime_checkable
class Runtime(Protocol):
    """A way to get an Ollama API: a running server, or one that deployq starts.

    `start(folder)` gives a context manager: the endpoint answers inside it. `folder` is where
    a private server keeps its models and its logs; a server that runs already ignores it.
    """

    name: str

    def health(self) -> Health: ...
    def start(self, folder: Path) -> AbstractContextManager[Endpoint]: ...


@runtime_checkable
class PrivateRuntime(Protocol):
    """A runtime that starts a server of its own (`private`), on a port of choice."""

    name: str
    private: bool

    def health(self) -> Health: ...
    def start(self, folder: Path, port: int = 0) -> AbstractContextManager[Endpoint]: ...


@runtime_checkable
class StoringRuntime(Protocol):
    """A runtime that tells where its server keeps its models, whether or not it is up.

    `models_dir(folder)` may not exist yet; None: on another machine, or not known.
    """

    name: str

    def health(self) -> Health: ...
    def start(self, folder: Path) -> AbstractContextManager[Endpoint]: ...
    def models_dir(self, folder: Path) -> Path | None: ...


class ReportFormat(Protocol):
    """Writes a report in some format."""

    name: str
    suffix: str

    def render(self, report: Report) -> str: ...


class Answerer(Protocol):
    """The part of a server that verification needs."""

    def chat(
        self,
        model: str,
        messages: Iterable[Message],
        *,
        options: Mapping[str, Json],
        format: Json = None,
        think: bool | str = False,
        timeout_seconds: float | None = None,
    ) -> Answer: ...
