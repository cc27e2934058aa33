"""Each missing quant is made once, by the backend chosen for it; what is there is reused."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from deployq.artifacts.store import Inputs
from deployq.artifacts.workshop import Draft, Workshop
from deployq.errors import ArtifactError, DeployqError, DiskError, ToolMissing
from deployq.ggml import NATIVE_TYPES
from deployq.records import dataclass
from deployq.types import (
    Artifact,
    Backend,
    Imatrix,
    ModelInfo,
    Progress,
    QuantizeJob,
    QuantSize,
)
from deployq.units import format_bytes

# The plan's sizes are those of llama.cpp's mixes; another quantizer may mix otherwise.
SIZED_BACKEND = "llamacpp"
# More than another mix can explain: F16 under the name of Q8_0 is 1.9 times its size, Q8_0 under
# that of Q4_K_M 1.7 times.
MOST_OFF = 0.5


@dataclass(frozen=True)
class Work:
    """What all jobs of one build have in common.

    `inspect` reads a finished file's header; `expected` holds the planned sizes by quant.
    """

    info: ModelInfo
    expected: Mapping[str, QuantSize]
    inspect: Callable[[Path], ModelInfo]
    progress: Progress
    threads: int | None
    allow_requantize: bool
    imatrices: Mapping[str, Imatrix]


def build(
    store: Workshop,
    backends: Mapping[str, Backend],
    choose: Callable[[str], str],
    info: ModelInfo,
    source_digest: str,
    quants: Sequence[str],
    expected: Mapping[str, QuantSize],
    inspect: Callable[[Path], ModelInfo],
    progress: Progress,
    *,
    threads: int | None = None,
    allow_requantize: bool = False,
    imatrices: Mapping[str, Imatrix] | None = None,
) -> dict[str, Artifact]:
    """The artifacts of `quants`, by quant and in their order.

    One that is there is taken only if its bytes are still those that it was finished with.

    All quants that one backend has to make go to it in one call. Where that fails, the files
    that it had finished are kept, and nothing else is left behind.

    Args:
        choose: the name of the backend for a quant.
        source_digest: hex sha256 of the source.
        expected: planned sizes; binding for llama.cpp's own quantizer.
        inspect: reads the header of a GGUF file.
        imatrices: by quant, the importance matrix that it is made with.

    Raises:
        ToolMissing: a backend is not usable here.
        DiskError: no room for what is missing; nothing was started.
        ArtifactError: a backend wrote something else than it should.
        BackendError: a backend failed.
    """
    helps = imatrices or {}
    work = Work(info, expected, inspect, progress, threads, allow_requantize, helps)
    wanted = {
        q: _inputs(backends[choose(q)], source_digest, q, helps.get(q))
        for q in dict.fromkeys(quants)
    }
    found = {
        quant: artifact
        for quant, inputs in wanted.items()
        if (artifact := store.checked(inputs.key, progress)) is not None
    }
    missing = [inputs for q, inputs in wanted.items() if q not in found]
    _require_room(store.folder, missing, expected)
    for name in dict.fromkeys(inputs.backend for inputs in missing):
        of_this = [inputs for inputs in missing if inputs.backend == name]
        found.update(_build_with(backends[name], of_this, store, work))
    for artifact in found.values():
        store.use(artifact.key)
    return {quant: found[quant] for quant in wanted}


def _inputs(backend: Backend, source_digest: str, quant: str, imatrix: Imatrix | None) -> Inputs:
    health = backend.health()
    if not health.ok:
        raise ToolMissing(
            f"backend {backend.name} is not usable: {health.detail}", hint=health.hint
        )
    made_with = (imatrix.key, imatrix.digest) if imatrix else ()
    return Inputs(source_digest, quant, backend.name, health.version, *made_with)


def _build_with(
    backend: Backend, missing: Sequence[Inputs], store: Workshop, work: Work
) -> dict[str, Artifact]:
    watch = _Stopwatch(work.progress)
    with ExitStack() as stack:
        # one order of locks for everyone: two builds never wait for each other in a circle
        locked = sorted(missing, key=lambda inputs: inputs.key)
        drafts = {i.quant: stack.enter_context(store.building(i)) for i in locked}
        made = {q: d.artifact for q, d in drafts.items() if d.artifact is not None}
        todo = [drafts[inputs.quant] for inputs in missing if inputs.quant not in made]
        try:
            if todo:
                backend.quantize([_job(draft, work) for draft in todo], watch)
        except BaseException:
            _keep_finished(todo, work, watch)
            raise
        failures = []
        for draft in todo:
            try:
                made[draft.inputs.quant] = _finish(draft, work, watch)
            except ArtifactError as exc:
                failures.append(exc)
        if failures:
            raise failures[0]
    return made


def _job(draft: Draft, work: Work) -> QuantizeJob:
    imatrix = work.imatrices.get(draft.inputs.quant)
    return QuantizeJob(
        source=work.info.files[0],
        quant=draft.inputs.quant,
        output=draft.path,
        threads=work.threads,
        # Weights that were trained in a quantized type are taken from it without a loss.
        allow_requantize=work.allow_requantize or work.info.dtype in NATIVE_TYPES,
        imatrix=imatrix.path if imatrix else None,
        made_from=work.info.made_from,
    )


def _keep_finished(drafts: Iterable[Draft], work: Work, watch: _Stopwatch) -> None:
    """Of a call that failed, keep the files that are whole; the failure itself goes on."""
    for draft in drafts:
        if draft.path.exists():
            with suppress(DeployqError):
                _finish(draft, work, watch)


def _finish(draft: Draft, work: Work, watch: _Stopwatch) -> Artifact:
    if draft.path.exists():
        _check(draft, work)
    return draft.finish(watch.seconds(draft.inputs.quant), work.progress)


def _check(draft: Draft, work: Work) -> None:
    """Is the file that a backend wrote what it was asked for?

    Raises:
        ArtifactError: it is not, and in what.
    """
    inputs = draft.inputs
    what = f"{inputs.quant} of {work.info.name or work.info.path.name}, made by {inputs.backend}"
    try:
        made = work.inspect(draft.path)
    except DeployqError as exc:
        raise ArtifactError(f"{what}, is no whole GGUF file: {exc.message}") from exc
    if made.architecture != work.info.architecture:
        raise ArtifactError(
            f"{what}, has the architecture {made.architecture!r} instead of "
            f"{work.info.architecture!r}"
        )
    _check_tensors(what, work.info, made)
    size, planned = draft.path.stat().st_size, work.expected.get(inputs.quant)
    # with a matrix the plan's size is by deployq's own rules, and rests on no tool's word
    binding = inputs.backend == SIZED_BACKEND and not inputs.imatrix
    if binding and planned and size != planned.file_bytes:
        raise ArtifactError(
            f"{what}, has {size:,} bytes instead of the planned {planned.file_bytes:,} "
            f"(planned by {planned.by})",
            hint="deployq doctor",
        )
    if planned and abs(size - planned.file_bytes) > MOST_OFF * planned.file_bytes:
        raise ArtifactError(
            f"{what}, has {format_bytes(size)}, where that quant comes to "
            f"{format_bytes(planned.file_bytes)}: it is another one",
            hint=f"ask whoever wrote {inputs.backend}, or --backend {SIZED_BACKEND}",
        )


def _check_tensors(what: str, source: ModelInfo, made: ModelInfo) -> None:
    wanted = {tensor.name: tensor.shape for tensor in source.tensors}
    there = {tensor.name: tensor.shape for tensor in made.tensors}
    if wanted == there:
        return
    if differing := sorted(wanted.keys() ^ there.keys()):
        missing = sum(name in wanted for name in differing)
        raise ArtifactError(
            f"{what}, lacks {missing} tensors and has {len(differing) - missing} others, "
            f"such as {differing[0]}"
        )
    name = next(name for name in wanted if wanted[name] != there[name])
    raise ArtifactError(f"{what}, has {name} as {there[name]} instead of {wanted[name]}")


def _require_room(
    folder: Path, missing: Sequence[Inputs], expected: Mapping[str, QuantSize]
) -> None:
    needed = sum(expected[i.quant].file_bytes for i in missing if i.quant in expected)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        names = ", ".join(inputs.quant for inputs in missing)
        raise DiskError(
            f"{names} need {format_bytes(needed)} in {folder}, {format_bytes(free)} are free",
            hint="free some room there, or set DEPLOYQ_CACHE_DIR to another disk",
        )


class _Stopwatch:
    """Passes progress on, and takes the time of each job of a call."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._since = time.monotonic()
        self._spent: dict[str, float] = {}

    def __call__(self, task: str, done: float, total: float | None, unit: str) -> None:
        now = time.monotonic()
        self._spent[task] = self._spent.get(task, 0.0) + now - self._since
        self._since = now
        self._progress(task, done, total, unit)

    def seconds(self, task: str) -> float:
        return self._spent.get(task, 0.0)
