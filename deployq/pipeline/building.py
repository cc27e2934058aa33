"""The artifacts of a push: room for them, and making those that are missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from deployq.artifacts.build import build
from deployq.artifacts.workshop import Workshop
from deployq.errors import DeployqError
from deployq.pipeline.jobs import Built, Job, Work
from deployq.pipeline.prepare import choose_backend, sizer
from deployq.pipeline.session import Session
from deployq.pipeline.stores import require_disk
from deployq.pipeline.wanted import Subject, artifact_key_of
from deployq.source.inspect import inspect
from deployq.types import Artifact


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


def build_all(work: Work, quants: Iterable[str]) -> Built:
    """The artifacts of these quants; where a build fails, those that it had finished."""
    session, info = work.session, work.prepared.info
    store = Workshop(session.cache_dir)
    wanted = list(dict.fromkeys(quants))
    if not wanted:
        return Built({}, {})
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
        BackendError, ToolMissing, DiskError, ArtifactError: it can't be made.
    """
    info = subject.info
    made = build(
        Workshop(session.cache_dir),
        session.backends(),
        lambda quant: choose_backend(session, info, quant).name,
        info,
        subject.source_digest,
        [quant],
        {quant: sizer(session, info, judge=True)(quant)},
        inspect,
        session.progress,
        threads=session.config.tools.threads,
    )
    return made[quant]
