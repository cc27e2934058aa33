"""What a plugin implements: plain objects of these shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from deployq.types.answers import Completion, Endpoint, Health, Measurement
    from deployq.types.artifacts import ConvertJob, Finding, QuantizeJob, SourceCheck
    from deployq.types.base import Json
    from deployq.types.machines import Hardware, Serving
    from deployq.types.measuring import Comparison, MeterText, SpeedOptions, Speeds, TextOptions
    from deployq.types.plan import Memory, QuantSize
    from deployq.types.quality import Piece
    from deployq.types.run import Run
    from deployq.types.verification import Answer, Message, Prompt, Verdict


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
class MergingBackend(Protocol):
    """A backend that also merges an adapter into its base, where it is the one asked for.

    `merge` writes a Hugging Face folder, the job's `output`, or raises and leaves none; what it
    returns are notes for people. A converter goes on from there. One whose `quants()` is empty
    leaves quantizing to other backends.
    """

    name: str

    def health(self) -> Health: ...
    def quants(self) -> frozenset[str]: ...
    def quantize(self, jobs: Sequence[QuantizeJob], progress: Progress) -> None: ...
    def merge(self, job: ConvertJob, progress: Progress) -> Sequence[str]: ...


@runtime_checkable
class Converter(Protocol):
    """Turns a source into a full-precision GGUF.

    `accepts` looks at files alone and is cheap. `convert` writes the job's `output`, or raises
    `BackendError` and leaves no file; what it returns are notes for people.
    """

    name: str

    def health(self) -> Health: ...
    def accepts(self, source: Path) -> bool: ...
    def convert(self, job: ConvertJob, progress: Progress) -> Sequence[str]: ...


@runtime_checkable
class CheckingConverter(Protocol):
    """A converter that can also look at a source before it is converted, and at its tokenizer.

    `check` says what is wrong with a job's tokenizer, architecture and chat template, and gives the
    ids of some texts by the source's own tokenizer, without a BOS, special tokens recognised. What
    the tokenizer becomes, a GGUF without weights, it writes to the job's `output`.
    """

    name: str

    def health(self) -> Health: ...
    def accepts(self, source: Path) -> bool: ...
    def check(self, job: ConvertJob, texts: Sequence[str]) -> SourceCheck: ...
    def convert(self, job: ConvertJob, progress: Progress) -> Sequence[str]: ...


@runtime_checkable
class Judge(Protocol):
    """Asks a real tool for exact figures; None where it can't tell."""

    name: str

    def health(self) -> Health: ...
    def file_bytes(self, gguf: Path, quant: str) -> QuantSize | None: ...
    def memory(self, gguf: Path, n_ctx: int, cache_type: str) -> Memory | None: ...


@runtime_checkable
class CheckingJudge(Protocol):
    """A judge that can also have the engine load a file as far as its weights.

    `check` gives `Failed` where the engine refuses the file, and `NotRun` where it can't be asked.
    """

    name: str

    def health(self) -> Health: ...
    def file_bytes(self, gguf: Path, quant: str) -> QuantSize | None: ...
    def memory(self, gguf: Path, n_ctx: int, cache_type: str) -> Memory | None: ...
    def check(self, gguf: Path) -> Sequence[Finding]: ...


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
class ComparingMeter(Protocol):
    """A meter that scores several files on one text against full precision (KL divergence).

    `compare` may write below `folder`, which is empty and has to hold all that it needs: a
    `DiskError` is raised before anything is run where it doesn't.
    """

    name: str
    unit: str

    def health(self) -> Health: ...
    def measure(self, artifact: Path, text: Path, progress: Progress) -> Measurement: ...
    def compare(
        self,
        baseline: Path,
        artifacts: Mapping[str, Path],
        text: MeterText,
        options: TextOptions,
        folder: Path,
        progress: Progress,
    ) -> Comparison: ...


@runtime_checkable
class SpeedMeter(Protocol):
    """A meter of speed, load time and memory; no text is read for it."""

    name: str
    unit: str

    def health(self) -> Health: ...
    def measure(self, artifact: Path, text: Path, progress: Progress) -> Measurement: ...
    def speeds(
        self, artifacts: Mapping[str, Path], options: SpeedOptions, folder: Path, progress: Progress
    ) -> Mapping[str, Speeds]: ...


@runtime_checkable
class Calibrator(Protocol):
    """Makes an importance matrix of a full-precision GGUF: which weights a text leans on."""

    name: str

    def health(self) -> Health: ...
    def calibrate(
        self, gguf: Path, text: MeterText, output: Path, options: TextOptions, progress: Progress
    ) -> None: ...


@runtime_checkable
class Completer(Protocol):
    """Continues raw prompts from a GGUF file, greedily and with no server of the user's.

    One whose `format` is "huggingface" is given a folder instead, as it was trained.
    """

    name: str

    def health(self) -> Health: ...
    def complete(
        self, model: Path, prompts: Sequence[str], n_ctx: int, n_predict: int, progress: Progress
    ) -> Sequence[Completion]: ...


@runtime_checkable
class FollowingCompleter(Protocol):
    """A completer that also reads what another one wrote, token by token."""

    name: str

    def health(self) -> Health: ...
    def complete(
        self, model: Path, prompts: Sequence[str], n_ctx: int, n_predict: int, progress: Progress
    ) -> Sequence[Completion]: ...
    def follow(
        self, model: Path, said: Sequence[tuple[str, Completion]], progress: Progress
    ) -> Sequence[tuple[int, int]]:
        """Per prompt and continuation: next tokens it is sure of, and how many were written.

        It is sure of one that is likelier than all others together; an end is a token, too.
        """
        ...


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
class AddressedRuntime(Protocol):
    """A runtime whose server runs already, at `url`; it may want a secret that deployq has."""

    name: str
    url: str

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


@runtime_checkable
class ServingRuntime(Protocol):
    """A runtime that knows how its server runs models, before it is up; None: not known."""

    name: str

    def health(self) -> Health: ...
    def start(self, folder: Path) -> AbstractContextManager[Endpoint]: ...
    def serving(self) -> Serving | None: ...


class RawModel(Protocol):
    """A model that was loaded by an `Engine`."""

    def complete(
        self,
        prompt: str,
        *,
        options: Mapping[str, Json],
        format: Json = None,
        timeout_seconds: float,
    ) -> Answer:
        """Continue a prompt as it is, special tokens in it read as such.

        `options` and `format` are Ollama's. The tokens generated stand in the answer's
        `raw["logprobs"]`, each with its text under "token", as Ollama gives them: "" for one that
        has none.
        """
        ...


@runtime_checkable
class Engine(Protocol):
    """Runs a GGUF file directly: no server of models, no template of its own.

    `load(weights, n_ctx)` gives a context manager: the model is in memory inside it.
    """

    name: str

    def health(self) -> Health: ...
    def load(self, weights: Path, n_ctx: int) -> AbstractContextManager[RawModel]: ...


class ReportFormat(Protocol):
    """Writes a run in some format; `suffix` is that of its files, dot included."""

    name: str
    suffix: str

    def render(self, run: Run) -> str: ...


class Tracer(Protocol):
    """The part of a server that agreement needs; `stream` ends the answer when it is closed."""

    def render(
        self,
        name: str,
        messages: Iterable[Message],
        *,
        think: bool | str = False,
        tools: Sequence[Json] = (),
    ) -> str | None:
        """The raw prompt that a tag's template makes of a conversation; None: it can't tell."""
        ...

    def stream(
        self,
        model: str,
        prompt: str,
        *,
        options: Mapping[str, Json],
        format: Json = None,
        top_logprobs: int = 20,
        timeout_seconds: float | None = None,
    ) -> Generator[Piece]: ...

    def unload(self, name: str) -> None: ...


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
        tools: Sequence[Json] = (),
        timeout_seconds: float | None = None,
    ) -> Answer: ...
