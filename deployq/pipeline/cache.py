"""The artifacts of the cache: what they are, what needs them, and whether they are whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from deployq.artifacts.record import RECORD, Record
from deployq.artifacts.workshop import Workshop
from deployq.errors import ConfigError
from deployq.pipeline.projects import lock_entries
from deployq.pipeline.session import Session
from deployq.types import CachedArtifact, HalfBuilt
from deployq.units import format_bytes

SHORTEST_KEY = 4


def cached_artifacts(session: Session, *, verify: bool = False) -> list[CachedArtifact]:
    """Every artifact, by quant and key.

    Args:
        verify: hash each; a damaged one is marked, and the next push makes it anew.

    Raises:
        LockfileError: the lockfile can't be read.
    """
    shop = Workshop(session.cache_dir)
    entries, _ = lock_entries(session)
    found = []
    for record in shop.records():
        checked = shop.verify(record, session.progress) if verify and _is_there(record) else record
        made = record.artifact
        tags = sorted(
            {e.tag for e in entries if made.key == e.artifact_key or made.digest == e.source_digest}
        )
        found.append(replace(_described(checked), tags=tuple(tags), verified=verify))
    return found


def half_built(session: Session) -> list[HalfBuilt]:
    """Artifacts that are not finished: in the making, or left by a process that was killed."""
    return Workshop(session.cache_dir).half_built()


def clear_half_built(session: Session) -> None:
    """Remove what killed processes left half built, and say so."""
    gone = Workshop(session.cache_dir).clear_half_built()
    if gone:
        freed = format_bytes(sum(one.n_bytes for one in gone))
        keys = ", ".join(dict.fromkeys(one.key[:12] for one in gone))
        session.talk(f"removed {keys}, left half built by a process that was killed: {freed} freed")


def remove_artifacts(session: Session, keys: Sequence[str]) -> list[tuple[CachedArtifact, int]]:
    """Remove artifacts by their keys or the beginnings of these; with the bytes that each freed.

    Raises:
        ConfigError: a key is that of none, or of several; then nothing is removed.
    """
    shop = Workshop(session.cache_dir)
    known = {record.artifact.path.parent.name: record for record in shop.records()}
    chosen = dict.fromkeys(_full_key(key, known) for key in keys)
    return [(_described(known[key]), shop.remove(key)) for key in chosen]


def _full_key(key: str, known: Iterable[str]) -> str:
    found = [full for full in known if full.startswith(key.lower())]
    if len(found) == 1 and len(key) >= SHORTEST_KEY:
        return found[0]
    if not found:
        raise ConfigError(f"the cache has no artifact {key!r}", hint="deployq cache")
    raise ConfigError(
        f"{key!r} may be {len(found)} artifacts: {', '.join(full[:12] for full in found)}",
        hint="give more of the key",
    )


def _is_there(record: Record) -> bool:
    """Whether there is something to hash: a file that is cut or gone needs no second look."""
    path = record.artifact.path
    return path.is_file() and path.stat().st_size == record.artifact.file_bytes


def _described(record: Record) -> CachedArtifact:
    artifact, folder = record.artifact, record.artifact.path.parent
    used = datetime.fromtimestamp((folder / RECORD).stat().st_mtime, UTC)
    return CachedArtifact(
        key=folder.name,
        quant=artifact.quant,
        file_bytes=artifact.file_bytes,
        digest=artifact.digest,
        source_digest=record.source_digest,
        backend=artifact.backend,
        backend_version=artifact.backend_version,
        finished=record.finished,
        used=used.isoformat(timespec="seconds"),
        links=artifact.path.stat().st_nlink - 1 if artifact.path.is_file() else 0,
        damaged=record.damaged,
    )
