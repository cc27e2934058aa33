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

from deployq.artifacts.record import read_record
from deployq.artifacts.store import ArtifactStore
from deployq.pipeline.jobs import Job, Work
from deployq.pipeline.parallel import at_once
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.tags.damage import Damage, StoreCheck, served_damage
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
    artifacts = {job.tag: _artifact_damage(session, job) for job in jobs}
    tags = {
        job.tag: (entry.blob_digest, *parts)
        for job in jobs
        if not job.why and (entry := work.lock.find(job.tag, site.key))
    }
    suspects = {tag for tag in tags if artifacts[tag]}
    found = find_damage(session, site, held, tags, hash_weights=hash_weights, suspects=suspects)
    return [_with(session, job, found.get(job.tag, ()), artifacts[job.tag]) for job in jobs]


def _with(session: Session, job: Job, damage: tuple[Damage, ...], artifact: str) -> Job:
    reasons = [one.message for one in damage]
    if artifact:
        reasons.append(f"its artifact in the cache is damaged: {artifact}")
    for reason in reasons:
        session.talk_once(f"{job.tag} on {job.site.endpoint.url}: {reason}; it is pushed again")
    return replace(job, why=(*job.why, *reasons), damage=damage)


def _artifact_damage(session: Session, job: Job) -> str:
    """What is known to be wrong with a tag's artifact; "" also where there is none."""
    key = str(job.wanted.fields["artifact_key"])
    record = read_record(ArtifactStore(session.cache_dir).folder_of(key))
    return record.damaged if record is not None else ""
