"""The step before quantizing: what training left becomes a full-precision GGUF, once."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from deployq import source as sources
from deployq.artifacts.store import Inputs
from deployq.artifacts.workshop import SCRATCH, Draft, Workshop
from deployq.errors import ArtifactError, DiskError, ToolMissing
from deployq.pipeline.answerparity import check_answers
from deployq.pipeline.conversion import (
    MARK,
    MERGED,
    Converted,
    able_converter,
    as_gguf,
    conversion_steps,
    inputs_of,
    merger_of,
    part_of,
    remember_waived,
    waived_findings,
)
from deployq.pipeline.preflight import check_gguf, require_sound, run_check, settle
from deployq.pipeline.prepare import Prepared, planned, with_parts
from deployq.pipeline.session import Session
from deployq.pipeline.sources import Origin, cheap_findings, origin_digest
from deployq.pipeline.stores import place_of
from deployq.pipeline.tokenparity import check_template, check_tokens, texts_for
from deployq.plan.disk import require_room
from deployq.source.hf_files import link_adapter, link_model
from deployq.source.inspect import inspect
from deployq.source.preflight import check_scan
from deployq.source.stored import read_weights
from deployq.types import (
    Artifact,
    CheckingConverter,
    Converter,
    ConvertJob,
    Finding,
    ModelInfo,
    StepResult,
)
from deployq.units import format_bytes


def made_ready(session: Session, prepared: Prepared) -> Prepared:
    """The same with a GGUF to quantize from: converts what was not converted yet.

    Raises:
        SourceError, ToolMissing, BackendError, DiskError: it can't be converted.
    """
    origin = prepared.origin
    if origin is None or prepared.info.format == "gguf":
        require_sound(session, prepared.info, prepared.model.settings)
        require_allowed(session, origin)
        return with_parts(session, prepared)
    require_room(prepared.plan.disk)
    made = convert(session, origin)
    info = as_gguf(session, made, origin)
    targets = tuple(target.target for target in prepared.plan.targets)
    ready = planned(session, prepared.model, origin, info, targets, "sizes")
    artifacts = (made.artifact, *(part.artifact for part in made.parts))
    return replace(ready, before=tuple(map(_step, artifacts)))


def require_allowed(session: Session, origin: Origin | None) -> None:
    """Stop where a source that was converted earlier fails checks that are not allowed now.

    `--allow` holds for one push: a later one without it must not take what was made with it.

    Raises:
        SourceError: every such finding is in the message.
    """
    if origin is not None and origin.needs_conversion:
        _judge(replace(session, talk=_silent), origin, cheap_findings(origin))  # the plan told them
        _judge(session, origin, waived_findings(session, origin))


def convert(session: Session, origin: Origin) -> Converted:
    """The GGUF of a Hugging Face folder or of an adapter, and of its parts: found, or made now.

    Everything that can be known before is checked before, what is cheap first: a model that can't
    work costs seconds.

    Raises:
        SourceError: the source is at fault; every finding is in the message.
        ToolMissing: nothing here converts it.
        DiskError: there is no room for it.
        BackendError, ArtifactError: the converter failed, or wrote something else.
    """
    _judge(replace(session, talk=_silent), origin, cheap_findings(origin))  # the plan told them
    artifact = _converted(session, origin)
    parts = tuple(part_of(part, _converted(session, part)) for part in origin.parts)
    return Converted(artifact, parts)


def _converted(session: Session, origin: Origin) -> Artifact:
    """One file: found, or checked and made."""
    converter = _require(session, origin)
    digest = origin_digest(session, origin, hash_now=True)
    assert digest is not None, "asked to hash, it hashes"
    store, inputs = Workshop(session.cache_dir), inputs_of(session, converter, digest, origin)
    if (artifact := store.checked(inputs.key, session.progress)) is not None:
        store.use(inputs.key)
        return artifact
    waived: list[Finding] = []
    if origin.mode == "model" and isinstance(converter, CheckingConverter):
        waived += _judge(session, origin, _by_converter(session, origin, converter))
    waived += _judge(session, origin, _by_weights(session, origin))
    _require_room(session, origin)
    with store.building(inputs) as draft:
        if draft.artifact is None:
            _make(session, origin, converter, draft, waived)
        assert draft.artifact is not None, "a draft that was finished has its artifact"
        return draft.artifact


# ---------------------------------------------------------------- before


def _by_converter(
    session: Session, origin: Origin, converter: CheckingConverter
) -> Iterator[Finding]:
    """What the converter makes of the tokenizer, before it makes anything else."""
    session.progress(f"checking the tokenizer of {origin.name}", 0, None, "texts")
    with tempfile.TemporaryDirectory(prefix="deployq-tokens-") as folder:
        vocabulary = Path(folder) / "vocabulary.gguf"
        texts = texts_for(origin.tokenizer_folder)
        job = _job(origin, vocabulary, Path(folder))
        found = converter.check(job, [one.text for one in texts])
        yield from found.findings
        if found.token_ids and vocabulary.is_file():
            theirs = found.token_ids
            named = bool(origin.settings.pre_tokenizer)
            yield from run_check(
                "tokenizer",
                lambda: check_tokens(
                    session,
                    origin.tokenizer_folder,
                    texts,
                    theirs,
                    vocabulary,
                    recognised=not named,
                ),
            )


def _by_weights(session: Session, origin: Origin) -> Iterator[Finding]:
    """What only the weights themselves tell; every byte of them is read."""
    if origin.adapter is not None:
        adapter = sources.scan_weights([origin.adapter.weights])
        yield from check_scan(origin.path, adapter, "F32")
        yield from sources.check_trained(origin.adapter)
    if origin.mode != "model":
        return
    folder = origin.base or origin.path
    weights = read_weights(folder)
    task = f"checking {folder.resolve().name}"
    found = sources.scan_weights(
        weights.files,
        lambda done: session.progress(task, done, weights.file_bytes, "bytes"),
    )
    session.progress(task, weights.file_bytes, weights.file_bytes, "bytes")
    yield from check_scan(folder, found, origin.dtype)


def _judge(session: Session, origin: Origin, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return settle(session, origin.allowed, findings)


def _silent(text: str) -> None:
    """Tell nobody."""


def _require(session: Session, origin: Origin) -> Converter:
    found = able_converter(session, origin)
    if found is not None:
        return found
    health = [c.health() for c in session.converters().values() if c.accepts(origin.path)]
    why = "; ".join(h.detail for h in health) or "no converter plugin takes such a folder"
    hint = next((h.hint for h in health if h.hint), "deployq plugins")
    raise ToolMissing(f"{origin.path}: can't be converted here: {why}", hint=hint)


def _require_room(session: Session, origin: Origin) -> None:
    """Room for the GGUF, and for the merged model that it is made from."""
    needed = sum(n_bytes for _, n_bytes in conversion_steps(origin))
    place = place_of(session.cache_dir)
    if needed > place.free_bytes:
        raise DiskError(
            f"converting {origin.path} needs {format_bytes(needed)} in {session.cache_dir}, "
            f"{format_bytes(place.free_bytes)} are free",
            hint="free some room there, or set DEPLOYQ_CACHE_DIR to another disk",
        )


# ---------------------------------------------------------------- the work


def _make(
    session: Session,
    origin: Origin,
    converter: Converter,
    draft: Draft,
    waived: Sequence[Finding],
) -> None:
    """Convert; `waived` is what failed of the source, and was allowed, before."""
    known = list(waived)
    started = time.monotonic()
    with _scratch(session, draft.inputs) as scratch:
        job = _merged(session, origin, _job(origin, draft.path, scratch))
        what = "the projector of " if origin.mode == "projector" else ""
        session.talk(f"converting {what}{origin.path.resolve().name} to {origin.dtype}")
        for note in converter.convert(job, session.progress):
            session.talk(note)
        if origin.mode == "model":
            made = _whole(origin, draft.path)
            known += _judge(session, origin, check_template(origin.tokenizer_folder, made))
            known += _judge(session, origin, _of_source(origin, made, check_gguf(session, made)))
            compare = partial(check_answers, session, origin, _trained(job), made)
            known += _judge(session, origin, run_check("answers", compare))
    remember_waived(session, draft.inputs.key, known)
    artifact = draft.finish(time.monotonic() - started, session.progress)
    by = f"{converter.name} {artifact.backend_version}"
    session.talk(
        f"converted to {origin.dtype} in {artifact.seconds:.0f} s: "
        f"{format_bytes(artifact.file_bytes)} ({by})"
    )


def _trained(job: ConvertJob) -> Path:
    """What was converted: the source itself, or what its adapter was merged to."""
    return job.scratch / (job.name or MERGED) if job.base is not None else job.source


def _merged(session: Session, origin: Origin, job: ConvertJob) -> ConvertJob:
    """The same job, its adapter merged by the backend that was asked for, where it merges.

    Raises:
        ToolMissing: it is not usable here.
        SourceError, BackendError: it could not merge it.
    """
    merger = merger_of(session, origin)
    if merger is None:
        return job
    health = merger.health()
    if not health.ok:
        raise ToolMissing(f"backend {merger.name}: {health.detail}", hint=health.hint)
    session.talk(f"merging {origin.path.resolve().name} with {merger.name} {health.version}")
    # the converter takes names for the header from the folder's own
    folder = job.scratch / (job.name or MERGED)
    for note in merger.merge(replace(job, output=folder), session.progress):
        session.talk(note)
    return replace(job, source=folder, base=None)


def _of_source(origin: Origin, made: ModelInfo, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Findings about the file that was made, said of what it was made from: that can be mended."""
    for finding in findings:
        what = finding.message.removeprefix(f"{made.path}: ")
        yield replace(finding, message=f"{origin.path}: as a GGUF, {what}")


def _whole(origin: Origin, file: Path) -> ModelInfo:
    made = inspect(file)
    if made.architecture != origin.info.architecture:
        raise ArtifactError(
            f"{origin.path}: became {made.architecture!r} instead of {origin.info.architecture!r}"
        )
    if made.quantized:
        raise ArtifactError(f"{origin.path}: was converted to a quantized file")
    return made


def _job(origin: Origin, output: Path, scratch: Path) -> ConvertJob:
    model = link_model((origin.base or origin.path).resolve(), scratch / "taken")
    source = link_adapter(origin.path.resolve(), scratch / "adapter") if origin.base else model
    return ConvertJob(
        source=source,
        output=output.absolute(),
        scratch=scratch,
        dtype=origin.dtype,
        name=origin.name,
        base=model if origin.base else None,
        pre_tokenizer=origin.settings.pre_tokenizer or "",
        allow=frozenset(origin.settings.allow),
        mode=origin.mode,
    )


@contextmanager
def _scratch(session: Session, inputs: Inputs) -> Iterator[Path]:
    """A folder for what is needed in between; gone afterwards, and what a killed push left too."""
    folder = (session.cache_dir / SCRATCH / inputs.key).absolute()
    try:
        if folder.exists():  # the artifact's lock is ours: whoever wrote it is dead
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    except OSError as exc:
        raise DiskError(f"cannot write {folder}: {exc.strerror or exc}") from exc
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _step(artifact: Artifact) -> StepResult:
    """The conversion as a step of a report."""
    if artifact.reused:
        return StepResult("convert", "reused", 0.0, artifact.file_bytes, "made by an earlier run")
    by = f"{artifact.backend.removeprefix(MARK)} {artifact.backend_version}"
    return StepResult("convert", "done", artifact.seconds, artifact.file_bytes, by)
