"""Tags that a server holds under the right digest and can't serve, and what a push does of it.

A manifest's digest says what a tag is made of, not that its blobs are there. So before a push says
"nothing to do" it looks at every part of every unchanged tag (tags/damage.py). A damaged part is a
reason to push the tag again, like any other change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from threading import Event

from deployq.artifacts.record import Record, read_record
from deployq.artifacts.store import ArtifactStore
from deployq.pipeline.jobs import Job, Work
from deployq.pipeline.parallel import at_once
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.tags.damage import Damage, StoreCheck, remembered_damage, served_damage
from deployq.tags.freed import store_of
from deployq.tags.records import TagRecord
from deployq.tags.versions import keeps_weights

# Requests at a time to one server: each makes it read a header of some megabytes.
_AT_ONCE = 4


def find_damage(
    session: Session,
    site: Site,
    held: Sequence[TagRecord],
    tags: Mapping[str, tuple[str, ...]],
    *,
    hash_weights: bool = False,
    suspects: Collection[str] = (),
) -> dict[str, tuple[Damage, ...]]:
    """The damaged parts of a server's tags, by tag.

    Args:
        held: the tags that the server lists.
        tags: what to look at, each with the digests of its weights and of what comes with them.
        hash_weights: hash every byte, where the server's store is on this machine.
        suspects: tags that are hashed in any case.

    Raises:
        ServerError: the server can't be asked.
    """
    if not tags:
        return {}
    store = store_of(site.server, site.endpoint.models_dir, held)
    if store is not None:
        check = StoreCheck(store, session.digests, hash_weights, session.progress)
        found = {tag: check.damage(tag, hash_weights=tag in suspects) for tag in tags}
        if check.unread:
            _tell_unread(session, site, f"{len(check.unread)} of its blobs belong to another user")
        return found
    if hash_weights:
        _tell_unread(
            session, site, "Ollama's API gives no digest, and its files can't be read here"
        )
    looks = [partial(served_damage, site.server, tag, blobs) for tag, blobs in tags.items()]
    seen: list[tuple[Damage, ...]] = []
    for start in range(0, len(looks), _AT_ONCE):
        seen += at_once(looks[start : start + _AT_ONCE], Event())
    return dict(zip(tags, seen, strict=True))


def _tell_unread(session: Session, site: Site, why: str) -> None:
    session.talk_once(
        f"{site.endpoint.url}: {why}: checked that every part is there and not cut, not every byte"
    )


def with_damage(
    work: Work,
    site: Site,
    held: Sequence[TagRecord],
    jobs: Sequence[Job],
    *,
    hash_weights: bool = False,
) -> list[Job]:
    """The same jobs; one whose tag or artifact is damaged has that as a reason to be pushed.

    Raises:
        ServerError: the server can't be asked.
    """
    session = work.session
    parts: tuple[str, ...] = ()
    if keeps_weights(site.endpoint.version):  # else they may be there under another digest
        parts = tuple(part.artifact.digest for part in work.prepared.info.parts)
    records = {job.tag: _record(session, job) for job in jobs}
    tags = {
        job.tag: (entry.blob_digest, *parts)
        for job in jobs
        if not job.why and (entry := work.lock.find(job.tag, site.key))
    }
    suspects = {tag for tag in tags if _fault(records[tag])}
    found = find_damage(session, site, held, tags, hash_weights=hash_weights, suspects=suspects)
    for job in jobs:
        if job.tag not in tags:
            found[job.tag] = _remembered(work, job, records[job.tag])
    return [_with(session, job, found[job.tag], _fault(records[job.tag])) for job in jobs]


def _record(session: Session, job: Job) -> Record | None:
    """What is recorded of a tag's artifact; None where there is none."""
    key = str(job.wanted.fields["artifact_key"])
    return read_record(ArtifactStore(session.cache_dir).folder_of(key))


def _fault(record: Record | None) -> str:
    return record.damaged if record is not None else ""


def _remembered(work: Work, job: Job, record: Record | None) -> tuple[Damage, ...]:
    """What an earlier command found of the weights of a tag that is pushed for another reason.

    Servers before Ollama 0.34.1 write the file anew: their blob is the one in the lockfile.
    """
    folder, entry = job.site.endpoint.models_dir, work.lock.find(job.tag, job.site.key)
    if folder is None:
        return ()
    digests = {record.artifact.digest} if record is not None else set()
    if entry is not None and entry.artifact_key == job.wanted.fields["artifact_key"]:
        digests.add(entry.blob_digest)
    blobs, known = folder / "blobs", work.session.digests
    return tuple(one for d in sorted(digests) for one in remembered_damage(blobs, known, d))


def _with(session: Session, job: Job, damage: tuple[Damage, ...], fault: str) -> Job:
    reasons = [one.message for one in damage]
    if fault:
        reasons.append(f"its artifact in the cache is damaged: {fault}")
    for reason in reasons:
        session.talk_once(f"{job.tag} on {job.site.endpoint.url}: {reason}; it is pushed again")
    return replace(job, why=(*job.why, *reasons), damage=damage)
