"""What a conversion would write, or wrote earlier: looked up, not made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from deployq.artifacts.store import ArtifactStore, Inputs
from deployq.pipeline.session import Session
from deployq.pipeline.sources import Origin, origin_digest
from deployq.source.inspect import inspect
from deployq.types import Artifact, Converter, ModelInfo

MARK = "convert:"
"""What the name of a converter carries as an artifact's backend."""


def converted(session: Session, origin: Origin) -> Artifact | None:
    """The GGUF of an earlier conversion; None: there is none. Nothing is hashed or started."""
    digest = origin_digest(session, origin, hash_now=False)
    converter = able_converter(session, origin)
    if digest is None or converter is None:
        return None
    return ArtifactStore(session.cache_dir).get(inputs_of(converter, digest, origin).key)


def as_gguf(session: Session, artifact: Artifact, origin: Origin) -> ModelInfo:
    """What the converted file is, under the name of what it was made from."""
    info = inspect(artifact.path)
    session.digests.remember(artifact.path, artifact.digest)
    return replace(
        info,
        notes=origin.info.notes,
        warnings=(*origin.info.warnings, *info.warnings),
    )


def conversion_steps(origin: Origin) -> Iterator[tuple[str, int]]:
    """What a conversion writes, for the plan's disk: each with its bytes."""
    if origin.base is not None:
        yield "merged model, until it is converted", merge_bytes(origin)
    yield f"converted model ({origin.dtype})", conversion_bytes(origin)


def conversion_bytes(origin: Origin) -> int:
    """Size of the converted file, its header estimated."""
    size = 4 if origin.dtype == "F32" else 2
    matrices = sum(t.n_elements * (4 if t.type == "F32" else size) for t in origin.info.tensors)
    return origin.info.header_bytes + matrices


def merge_bytes(origin: Origin) -> int:
    """Size of the merged model that stands there while it is converted."""
    return origin.info.file_bytes if origin.base is not None else 0


def inputs_of(converter: Converter, digest: str, origin: Origin) -> Inputs:
    """What the converted file is made from; names it in the store."""
    return Inputs(digest, origin.dtype, MARK + converter.name, converter.health().version)


def able_converter(session: Session, origin: Origin) -> Converter | None:
    """The first converter that takes this source and is usable here."""
    able = (c for c in session.converters().values() if c.accepts(origin.path) and c.health().ok)
    return next(able, None)
