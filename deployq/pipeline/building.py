"""The artifacts of a push: room for them, and making those that are missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from deployq.artifacts.build import build
from deployq.artifacts.workshop import Workshop
from deployq.errors import DeployqError
from deployq.pipeline.importance import ensure_imatrix
from deployq.pipeline.jobs import Built, Job, Work
from deployq.pipeline.matrices import uses_imatrix
from deployq.pipeline.preflight import require_sound
from deployq.pipeline.prepare import Prepared, choose_backend, sizer
from deployq.pipeline.resolve import Model
from deployq.pipeline.session import Session
from deployq.pipeline.stores import require_disk
from deployq.pipeline.wanted import Subject, artifact_key_of
from deployq.source.inspect import inspect
from deployq.types import Artifact, Imatrix, ModelInfo, QuantSize


def require_room(work: Work, jobs: Mapping[str | None, Sequence[Job]]) -> None:
    """Room for the artifacts that are missing, and for a copy of what a server never had.

    Args:
        jobs: by a target's host, the quant tags of its server.

    Raises:
        DiskError: there is too little.
    """
    new = {
        host: [
            work.prepared.size_of(job.rendered.quant)
            for job in group
            if job.why and work.lock.find(job.tag, job.site.key) is None
        ]
        for host, group in jobs.items()
    }
    store = Workshop(work.session.cache_dir)
    quants = {size.quant for sizes in new.values() for size in sizes}
    cached = [quant for quant in quants if store.get(_key(work, quant))]
    versions = {host: group[0].site.endpoint.version for host, group in jobs.items() if group}
    require_disk(work.session, new, cached, versions)


def build_all(work: Work, jobs: Iterable[Job]) -> Built:
    """The artifacts of what is to be pushed; where a build fails, those that it had finished."""
    session, info = work.session, work.prepared.info
    store = Workshop(session.cache_dir)
    todo = [job for job in jobs if job.why]
    wanted = list(dict.fromkeys(job.rendered.quant for job in todo))
    if not wanted:
        return Built({}, {})
    for quant in {j.rendered.quant for j in todo if any(d.fault == "changed" for d in j.damage)}:
        # the server's file may be a link to the artifact, and keep the times of a whole one
        store.doubt(_key(work, quant), session.progress)
    try:
        artifacts = build(
            store,
            session.backends(),
            lambda quant: choose_backend(session, info, quant).name,
            info,
            work.source_digest,
            wanted,
            {quant: work.prepared.size_of(quant) for quant in wanted},
            inspect,
            session.progress,
            threads=session.config.tools.threads,
            allow_requantize=work.options.allow_requantize,
            imatrices=imatrices_for(session, work.prepared.model, info, work.source_digest, wanted),
        )
    except DeployqError as exc:
        found = {quant: store.get(_key(work, quant)) for quant in wanted}
        made = {quant: artifact for quant, artifact in found.items() if artifact is not None}
        return Built(made, {quant: exc for quant in wanted if quant not in made})
    return Built(artifacts, {})


def _key(work: Work, quant: str) -> str:
    return artifact_key_of(work.session, work.subject, quant)


def artifact_of(session: Session, subject: Subject, quant: str) -> Artifact:
    """One quant of a model, made if it is not there.

    Raises:
        DeployqError: it can't be made.
    """
    model, info = subject.model, subject.info
    sizes = {quant: sizer(session, info, judge=True, model=model)(quant)}
    return _made(session, model, info, subject.source_digest, [quant], sizes)[0]


def artifacts_of(
    session: Session, prepared: Prepared, digest: str, quants: Sequence[str]
) -> list[Artifact]:
    """The artifacts of quants, in their order; those that are missing are made.

    Raises:
        DeployqError: one can't be made.
    """
    sizes = {quant: prepared.size_of(quant) for quant in quants}
    return _made(session, prepared.model, prepared.info, digest, quants, sizes)


def imatrices_for(
    session: Session, model: Model, info: ModelInfo, digest: str, quants: Iterable[str]
) -> dict[str, Imatrix]:
    """The importance matrix of each quant that is made with one; it is made if it is missing.

    Raises:
        DeployqError: as for `ensure_imatrix`.
    """
    taking = [quant for quant in quants if uses_imatrix(model, quant)]
    made = ensure_imatrix(session, model, info, digest) if taking else None
    return {} if made is None else dict.fromkeys(taking, made)


def _made(
    session: Session,
    model: Model,
    info: ModelInfo,
    digest: str,
    quants: Sequence[str],
    sizes: Mapping[str, QuantSize],
) -> list[Artifact]:
    if not quants:
        return []
    require_sound(session, info, model.settings)
    made = build(
        Workshop(session.cache_dir),
        session.backends(),
        lambda quant: choose_backend(session, info, quant).name,
        info,
        digest,
        quants,
        sizes,
        inspect,
        session.progress,
        threads=session.config.tools.threads,
        imatrices=imatrices_for(session, model, info, digest, quants),
    )
    return [made[quant] for quant in quants]
