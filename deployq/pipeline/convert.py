"""The step before quantizing: what training left becomes a full-precision GGUF, once."""

from __future__ import annotations

import importlib
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from deployq.artifacts.store import ArtifactStore, Draft, Inputs
from deployq.errors import ArtifactError, DiskError, SourceError, ToolMissing
from deployq.pipeline.parity import check_parity
from deployq.pipeline.session import Session
from deployq.pipeline.sources import Origin, origin_digest
from deployq.pipeline.stores import place_of
from deployq.source.adapter import check_adapter
from deployq.source.inspect import inspect
from deployq.source.preflight import check_folder, check_scan, with_allowed
from deployq.source.safetensors import read_weights
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

_MARK = "convert:"


def converted(session: Session, origin: Origin) -> Artifact | None:
    """The GGUF of an earlier conversion; None: there is none. Nothing is hashed or started."""
    digest = origin_digest(session, origin, hash_now=False)
    converter = _able(session, origin)
    if digest is None or converter is None:
        return None
    return ArtifactStore(session.cache_dir).get(_inputs(converter, digest, origin).key)


def convert(session: Session, origin: Origin) -> Artifact:
    """The GGUF of a Hugging Face folder or of an adapter: found, or made now.

    Everything that can be known before is checked before: a model that can't work costs seconds.

    Raises:
        SourceError: the source is at fault; every finding is in the message.
        ToolMissing: nothing here converts it.
        DiskError: there is no room for it.
        BackendError, ArtifactError: the converter failed, or wrote something else.
    """
    findings = list(_by_files(session, origin))
    _judge(session, findings)
    converter = _require(session, origin)
    digest = origin_digest(session, origin, hash_now=True)
    assert digest is not None, "asked to hash, it hashes"
    store = ArtifactStore(session.cache_dir)
    inputs = _inputs(converter, digest, origin)
    if (artifact := store.get(inputs.key)) is not None:
        return _remembered(session, artifact)
    _require_room(session, origin)
    with store.building(inputs) as draft:
        if draft.artifact is None:
            _make(session, origin, converter, draft)
        assert draft.artifact is not None, "a draft that was finished has its artifact"
        return _remembered(session, draft.artifact)


def as_gguf(session: Session, artifact: Artifact, origin: Origin) -> ModelInfo:
    """What the converted file is, under the name of what it was made from."""
    info = inspect(artifact.path)
    session.digests.remember(artifact.path, artifact.digest)
    return replace(info, warnings=(*origin.info.warnings, *info.warnings))


# ---------------------------------------------------------------- before


def _by_files(session: Session, origin: Origin) -> Iterator[Finding]:
    """What files tell: the tokenizer, the adapter, then the weights themselves."""
    allowed = origin.settings.allow
    folder = origin.base or origin.path
    yield from with_allowed(check_folder(folder, _tokenizer_of(origin)), _allowed(origin))
    if origin.adapter is not None and origin.base is not None:
        shapes = {t.name: t.shape for t in read_weights(origin.base).tensors}
        yield from with_allowed(check_adapter(origin.adapter, shapes), allowed)
    yield from with_allowed(_by_weights(session, origin, folder), allowed)


def _by_weights(session: Session, origin: Origin, folder: Path) -> Iterator[Finding]:
    weights = read_weights(folder)
    # it brings numpy, which a push of a GGUF need not wait for
    scan = importlib.import_module("deployq.source.weights").scan_weights
    task = f"checking {folder.name}"
    found = scan(
        weights.files,
        lambda done: session.progress(task, done, weights.file_bytes, "bytes"),
    )
    session.progress(task, weights.file_bytes, weights.file_bytes, "bytes")
    yield from check_scan(folder, found, origin.dtype)


def _allowed(origin: Origin) -> tuple[str, ...]:
    """A Modelfile template of the user's own stands in for a missing chat template."""
    own = ("template",) if origin.settings.template else ()
    return (*origin.settings.allow, *own)


def _tokenizer_of(origin: Origin) -> Path | None:
    """An adapter that was saved with its tokenizer is served with that one."""
    own = origin.base is not None and (origin.path / "tokenizer_config.json").is_file()
    return origin.path if own else None


def _judge(session: Session, findings: Iterable[Finding]) -> None:
    """Tell the warnings, and stop at what is fatal.

    Raises:
        SourceError: something is.
    """
    fatal = []
    for finding in findings:
        if finding.fatal:
            fatal.append(finding)
        else:
            session.talk(f"warning: {finding.message}")
    if fatal:
        first = fatal[0]
        hint = first.hint or f'allow = ["{first.check}"] under [models.NAME] goes on all the same'
        raise SourceError("; ".join(finding.message for finding in fatal), hint=hint)


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


def conversion_bytes(origin: Origin) -> int:
    """Size of the converted file, its header estimated."""
    size = 4 if origin.dtype == "F32" else 2
    matrices = sum(t.n_elements * (4 if t.type == "F32" else size) for t in origin.info.tensors)
    return origin.info.header_bytes + matrices


def merge_bytes(origin: Origin) -> int:
    """Size of the merged model that stands there while it is converted."""
    return origin.info.file_bytes if origin.base is not None else 0


def conversion_steps(origin: Origin) -> Iterator[tuple[str, int]]:
    """What a conversion writes, for the plan's disk: each with its bytes."""
    if origin.base is not None:
        yield "merged model, until it is converted", merge_bytes(origin)
    yield f"converted model ({origin.dtype})", conversion_bytes(origin)


# ---------------------------------------------------------------- the work


def _make(session: Session, origin: Origin, converter: Converter, draft: Draft) -> None:
    started = time.monotonic()
    with _scratch(session, draft.inputs.key) as scratch:
        job = _job(origin, draft.path, scratch)
        if isinstance(converter, CheckingConverter):
            session.talk(f"converting {origin.path.name} to {origin.dtype}")
            _judge(session, with_allowed(iter(converter.check(job)), origin.settings.allow))
        for note in converter.convert(job, session.progress):
            session.talk(note)
    made = _whole(origin, draft)
    if isinstance(converter, CheckingConverter):
        tokenizer = _tokenizer_of(origin) or origin.base or origin.path
        findings = check_parity(session, converter, tokenizer, made)
        _judge(session, with_allowed(findings, origin.settings.allow))
    artifact = draft.finish(time.monotonic() - started, session.progress)
    by = f"{converter.name} {artifact.backend_version}"
    session.talk(
        f"converted to {origin.dtype} in {artifact.seconds:.0f} s: "
        f"{format_bytes(artifact.file_bytes)} ({by})"
    )


def _whole(origin: Origin, draft: Draft) -> ModelInfo:
    made = inspect(draft.path)
    if made.architecture != origin.info.architecture:
        raise ArtifactError(
            f"{origin.path}: became {made.architecture!r} instead of {origin.info.architecture!r}"
        )
    if made.quantized:
        raise ArtifactError(f"{origin.path}: was converted to a quantized file")
    return made


def _job(origin: Origin, output: Path, scratch: Path) -> ConvertJob:
    return ConvertJob(
        source=origin.path.resolve(),
        output=output.absolute(),
        scratch=scratch,
        dtype=origin.dtype,
        name=origin.name,
        base=origin.base.resolve() if origin.base else None,
        pre_tokenizer=origin.settings.pre_tokenizer or "",
        allow=frozenset(origin.settings.allow),
    )


@contextmanager
def _scratch(session: Session, key: str) -> Iterator[Path]:
    """A folder for what is needed in between; gone afterwards, and what a killed push left too."""
    folder = (session.cache_dir / "scratch" / key).absolute()
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


def _inputs(converter: Converter, digest: str, origin: Origin) -> Inputs:
    return Inputs(digest, origin.dtype, _MARK + converter.name, converter.health().version)


def _able(session: Session, origin: Origin) -> Converter | None:
    able = (c for c in session.converters().values() if c.accepts(origin.path) and c.health().ok)
    return next(able, None)


def _require(session: Session, origin: Origin) -> Converter:
    found = _able(session, origin)
    if found is not None:
        return found
    health = [c.health() for c in session.converters().values() if c.accepts(origin.path)]
    why = "; ".join(h.detail for h in health) or "no converter plugin takes such a folder"
    hint = next((h.hint for h in health if h.hint), "deployq plugins")
    raise ToolMissing(f"{origin.path}: can't be converted here: {why}", hint=hint)


def _remembered(session: Session, artifact: Artifact) -> Artifact:
    session.digests.remember(artifact.path, artifact.digest)
    return artifact


def convert_step(artifact: Artifact) -> StepResult:
    """The conversion as a step of a report."""
    if artifact.reused:
        return StepResult("convert", "reused", 0.0, artifact.file_bytes, "made by an earlier run")
    by = f"{artifact.backend.removeprefix(_MARK)} {artifact.backend_version}"
    return StepResult("convert", "done", artifact.seconds, artifact.file_bytes, by)
