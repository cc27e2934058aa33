"""What a conversion would write, or wrote earlier: looked up, not made."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from deployq.artifacts.record import identity_of, read_record
from deployq.artifacts.store import ArtifactStore, Inputs
from deployq.errors import DiskError
from deployq.files import write_whole
from deployq.ggml import NATIVE_TYPES, tensor_bytes
from deployq.pipeline.preflight import stops
from deployq.pipeline.session import Session
from deployq.pipeline.sources import STOPS, Origin, origin_digest
from deployq.records import dataclass
from deployq.source.inspect import inspect
from deployq.source.projector import projector_of
from deployq.types import (
    Artifact,
    Converter,
    Failed,
    Finding,
    MadeFrom,
    MergingBackend,
    ModelInfo,
    Part,
)

MARK = "convert:"
"""What the name of a converter carries as an artifact's backend."""
MERGED = "merged"
"""What a merged adapter is called in the scratch folder, where the model has no name."""


@dataclass(frozen=True)
class Converted:
    """The files of a conversion: the model's own, and those beside it by their kind."""

    artifact: Artifact
    parts: tuple[Part, ...] = ()


def converted(session: Session, origin: Origin) -> Converted | None:
    """The files of an earlier conversion; None: one is missing. Nothing is hashed or started."""
    main = _earlier(session, origin)
    parts = [(part, _earlier(session, part)) for part in origin.parts]
    if main is None or any(artifact is None for _, artifact in parts):
        return None
    return Converted(main, tuple(part_of(o, artifact) for o, artifact in parts if artifact))


def _earlier(session: Session, origin: Origin) -> Artifact | None:
    digest = origin_digest(session, origin, hash_now=False)
    converter = able_converter(session, origin)
    if digest is None or converter is None:
        return None
    store = ArtifactStore(session.cache_dir)
    record = read_record(store.folder_of(inputs_of(session, converter, digest, origin).key))
    # one that was written to since it was hashed is looked at by the conversion, byte for byte
    whole = record and not record.damaged and identity_of(record.artifact.path) == record.identity
    return record.artifact if record and whole else None


# ---------------------------------------------------------------- what was allowed


def remember_waived(session: Session, key: str, findings: Iterable[Finding]) -> None:
    """Keep what an artifact was made in spite of: `--allow` holds for one push alone.

    Raises:
        DiskError: it can't be written.
    """
    waived = [[one.check, one.message, one.hint] for one in findings]
    path = _waived_path(session, key)
    try:
        path.unlink(missing_ok=True)
        if waived:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(waived))
    except OSError as exc:
        raise DiskError(f"cannot write {path}: {exc.strerror or exc}") from exc


def waived_findings(session: Session, origin: Origin) -> list[Failed]:
    """What the files of an earlier conversion were made in spite of."""
    found = []
    for one in (origin, *origin.parts):
        digest = origin_digest(session, one, hash_now=False)
        converter = able_converter(session, one)
        if digest is None or converter is None:
            continue
        path = _waived_path(session, inputs_of(session, converter, digest, one).key)
        with contextlib.suppress(OSError, ValueError, TypeError):
            found += [Failed(*map(str, values)) for values in json.loads(path.read_text("utf-8"))]
    return found


def _waived_path(session: Session, key: str) -> Path:
    return session.cache_dir / "allowed" / f"{key}.json"


def part_of(origin: Origin, artifact: Artifact) -> Part:
    """A converted part, under a name that changes with it."""
    assert origin.mode != "model", "the model is no part of itself"
    mark = "mmproj" if origin.mode == "projector" else "adapter"
    return Part(origin.mode, f"{origin.name}-{mark}-{artifact.digest[:12]}.gguf", artifact)


def as_gguf(session: Session, made: Converted, origin: Origin) -> ModelInfo:
    """What the converted file is, with what was known of what it was made from."""
    info = inspect(made.artifact.path)
    for artifact in (made.artifact, *(part.artifact for part in made.parts)):
        session.digests.remember(artifact.path, artifact.digest)
    waived = [
        finding.message + (STOPS if stops(finding, origin.allowed) else "")
        for finding in waived_findings(session, origin)
    ]
    return replace(
        info,
        notes=origin.info.notes,
        warnings=(*origin.info.warnings, *info.warnings, *waived),
        parts=made.parts,
        projector_bytes=sum(p.artifact.file_bytes for p in made.parts if p.kind == "projector"),
        made_from=_made_from(origin),
    )


def _made_from(origin: Origin) -> MadeFrom:
    base = origin.base.resolve() if origin.base else None
    allowed = frozenset(origin.settings.allow)
    return MadeFrom(origin.path.resolve(), base, origin.name, allowed)


def with_projector(session: Session, origin: Origin, info: ModelInfo) -> ModelInfo:
    """A GGUF with the projector that lies beside it as a part of what is registered."""
    wanted = origin.settings.projector and not origin.needs_conversion
    header = projector_of(info.path, info.metadata) if wanted and info.projector_bytes else None
    if header is None:
        return info
    size, task = header.path.stat().st_size, f"reading {header.path.name}"
    digest = session.digests.sha256(
        header.path, lambda done: session.progress(task, done, size, "bytes")
    )
    artifact = Artifact(header.path, "projector", "", digest, size, "", "")
    return replace(info, parts=(part_of(replace(origin, mode="projector"), artifact),))


def conversion_steps(origin: Origin) -> Iterator[tuple[str, int]]:
    """What a conversion writes, for the plan's disk: each with its bytes."""
    if origin.mode == "adapter" and origin.adapter is not None:
        yield "converted adapter", origin.adapter.weights.stat().st_size
        return
    if origin.mode == "projector":
        yield "converted projector", origin.info.projector_bytes
        return
    if origin.base is not None:
        yield "merged model, until it is converted", origin.info.file_bytes
    yield f"converted model ({origin.dtype})", conversion_bytes(origin)
    for part in origin.parts:
        yield from conversion_steps(part)


def conversion_bytes(origin: Origin) -> int:
    """Size of the converted file, its header estimated."""
    size = 4 if origin.dtype == "F32" else 2
    kept = ("F32", *NATIVE_TYPES)  # types that stay as they are, whatever the rest becomes
    matrices = sum(
        tensor_bytes(t.shape, t.type) if t.type in kept else t.n_elements * size
        for t in origin.info.tensors
    )
    return origin.info.header_bytes + matrices


def inputs_of(session: Session, converter: Converter, digest: str, origin: Origin) -> Inputs:
    """What the converted file is made from; names it in the store."""
    version = converter.health().version
    if merger := merger_of(session, origin):
        version += f"+{merger.name}-{merger.health().version}"
    return Inputs(digest, origin.dtype, MARK + converter.name, version)


def merger_of(session: Session, origin: Origin) -> MergingBackend | None:
    """What merges an adapter, where that is not the converter: the backend that was asked for."""
    if origin.base is None or origin.mode != "model":
        return None
    return named_merger(session)


def named_merger(session: Session) -> MergingBackend | None:
    """The backend that was asked for, if it merges."""
    asked = session.config.plugins.backend
    backend = session.backends().get(asked) if asked else None
    return backend if isinstance(backend, MergingBackend) else None


def able_converter(session: Session, origin: Origin) -> Converter | None:
    """The first converter that takes this source and is usable here."""
    able = (c for c in session.converters().values() if c.accepts(origin.path) and c.health().ok)
    return next(able, None)
