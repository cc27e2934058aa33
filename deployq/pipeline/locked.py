"""`--locked`: exactly what the lockfile says, or a failure that says what differs."""

from __future__ import annotations

from collections.abc import Iterable

from deployq.errors import LockfileError
from deployq.pipeline.jobs import Job, Work
from deployq.tags.lockfile import changes
from deployq.tags.registry import Staged


def require_locked(work: Work, jobs: Iterable[Job]) -> None:
    """Make sure, before anything is built, that a push would make what the lockfile says.

    Raises:
        LockfileError: a tag is not in it, or would be made of something else.
    """
    found = [reason for job in jobs for reason in _reasons(work, job)]
    if found:
        raise LockfileError(
            f"{work.session.lockfile.name} says otherwise: {'; '.join(found)}",
            hint=f"push without --locked to make it anew: deployq push {work.prepared.model.name}",
        )


def require_weights_locked(work: Work, job: Job, staged: Staged) -> None:
    """Make sure that what was built is, byte for byte, what the lockfile has.

    Raises:
        LockfileError: it is not.
    """
    entry = work.lock.find(job.tag, job.site.key)
    if entry is not None and entry.blob_digest != staged.blob_digest:
        raise LockfileError(
            f"{job.tag}: the weights built here are sha256:{staged.blob_digest[:12]}, "
            f"{work.session.lockfile.name} has sha256:{entry.blob_digest[:12]}",
            hint="the same inputs gave other bytes: is it another build of llama.cpp?",
        )


def _reasons(work: Work, job: Job) -> list[str]:
    entry = work.lock.find(job.tag, job.site.key)
    if entry is None:
        return [f"{job.tag} on {job.site.key} is not in it"]
    return [f"{job.tag}: {r}" for r in changes(entry, job.wanted.fields, entry.manifest_digest)]
