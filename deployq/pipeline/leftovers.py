"""What could go from this machine and a server: found and counted, nothing is removed."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from deployq.artifacts.record import RECORD
from deployq.artifacts.store import ArtifactStore
from deployq.artifacts.workshop import Workshop
from deployq.errors import ConfigError
from deployq.pipeline.matrices import FILE as MATRIX
from deployq.pipeline.projects import is_mine, lock_entries
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.tags.freed import Links, freed_by, gone_with, store_of
from deployq.tags.history import beyond, generations
from deployq.tags.lockfile import LockEntry, Lockfile
from deployq.tags.manifests import LocalStore, digest_in
from deployq.tags.markers import age_seconds, find_markers
from deployq.tags.names import HISTORY, STAGING, TagName, generation_number, is_internal, owner_of
from deployq.tags.owners import Project, read_owners
from deployq.tags.records import TagRecord
from deployq.tags.server import Server
from deployq.types import Leftover, LeftoverKind, Leftovers

_GENERATION = re.compile(rf"{HISTORY}/(?P<model>[^:]+):(?P<tag>.+)\.[0-9]+", re.IGNORECASE)
TEXT_DAYS = 30
_OF_A_BLOB = re.compile(r"sha256-([0-9a-f]{64})-.+")


@dataclass
class _Search:
    """What all searches need: who uses what, and what counts as young."""

    session: Session
    keep: int
    all_projects: bool
    young_seconds: float
    now: float
    entries: list[LockEntry]
    busy: bool
    links: Links = field(default_factory=Links)
    notes: list[str] = field(default_factory=list)

    def is_young(self, *stamps: float) -> bool:
        return self.now - max(stamps) < self.young_seconds


def find_leftovers(
    session: Session,
    site: Site | None,
    *,
    keep: int,
    young_seconds: float,
    all_projects: bool = False,
    now: float | None = None,
) -> Leftovers:
    """What could go: staged tags, old generations, orphaned blobs, artifacts that nothing names.

    Args:
        site: the server; None: only the artifacts of this machine.
        keep: earlier generations of each tag that stay.
        all_projects: whether generations of other projects are counted, too.
        young_seconds: what is younger may belong to a push that is under way elsewhere.
        now: seconds since 1970; for tests.

    Raises:
        LockfileError: the lockfile can't be read, so nobody knows what is in use.
        ServerError: the server can't be asked.
    """
    entries, broken = lock_entries(session)
    busy = push_under_way(session)
    now = time.time() if now is None else now
    search = _Search(session, keep, all_projects, young_seconds, now, entries, busy)
    items: list[Leftover] = []
    if busy:
        search.notes.append("a push is under way: staged tags, blobs and artifacts are left alone")
    if site is not None:
        store = store_of(site.server, site.endpoint.models_dir)
        items += _tags(search, site, store)
        if store is not None and not busy:
            items += _blobs(search, site.server, store)
    for path in broken:
        search.notes.append(f"artifacts are left alone: {path}")
    if not broken and not busy:
        items += _artifacts(search)
        items += _matrices(search)
        items += _texts(search)
    items += _half_built(search)
    return Leftovers(tuple(items), tuple(search.notes))


def push_under_way(session: Session) -> bool:
    """Whether some deployq of this cache changes tags or makes an artifact just now."""
    return any(map(_is_held, (session.cache_dir / "locks").glob("*.lock"))) or any(
        map(_is_held, ArtifactStore(session.cache_dir).folder.glob("*/.*.lock"))
    )


def _is_held(path: Path) -> bool:
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


# ---------------------------------------------------------------- tags


def _tags(search: _Search, site: Site, store: LocalStore | None) -> list[Leftover]:
    listed = site.server.tags()
    chosen = [
        *([] if search.busy else _staged(search, site.server, listed)),
        *_generations(search, site.server, listed),
    ]
    found: list[Leftover] = []
    for kind, tag, why in chosen:
        gone = [item.name for item in found]
        frees = _frees(search, site, store, tag.name, gone)
        found.append(Leftover(kind, tag.name, tag.size_bytes, frees, why, digest=tag.digest))
    return found


def _frees(
    search: _Search, site: Site, store: LocalStore | None, name: str, gone: Collection[str]
) -> int:
    """The bytes that go with a tag once those in `gone` are gone already."""
    if store is not None:
        return search.links.drop(gone_with(store.without(gone), [name])).freed_bytes
    before = freed_by(site.server, None, gone).freed_bytes if gone else 0
    return freed_by(site.server, None, [*gone, name]).freed_bytes - before


def _staged(
    search: _Search, server: Server, listed: list[TagRecord]
) -> Iterator[tuple[LeftoverKind, TagRecord, str]]:
    """What no push needs any more: its own marker says that, whatever machine it runs on."""
    staged = [tag for tag in listed if tag.name.lower().startswith(f"{STAGING}/")]
    if not staged:
        return
    seen, now = {one.id: one for one in find_markers(server, listed)}, server.clock()
    for tag in staged:
        owner = seen.get(owner_of(tag.name) or "")
        if owner is not None and owner.is_alive:
            search.notes.append(f"{tag.name} is left alone: {owner} is under way")
        elif age_seconds(tag, now) < search.young_seconds:
            search.notes.append(f"{tag.name} is left alone: it is young, a push may be under way")
        elif owner is None or not (owner.marker and owner.marker.swaps):
            yield "staged tag", tag, "a push did not finish"


def _generations(
    search: _Search, server: Server, listed: list[TagRecord]
) -> Iterator[tuple[LeftoverKind, TagRecord, str]]:
    """Of each tag the generations of this project that are too many, or those of everybody."""
    matches = (_GENERATION.fullmatch(tag.name) for tag in listed)
    of = {(m["model"].lower(), m["tag"].lower()): m for m in matches if m is not None}
    lock, owners = Lockfile.load(search.session.lockfile), dict[str, Mapping[str, Project]]()
    foreign: list[str] = []
    for matched in of.values():
        name, model = TagName(matched["model"], matched["tag"]), matched["model"].lower()
        if model not in owners:
            owners[model] = read_owners(server, listed, model)
        mine = is_mine(search.session, lock, owners[model])
        kept = generations(listed, name)
        own = {n: t for n, t in kept.items() if mine(str(name), t.digest) or search.all_projects}
        foreign += [tag.name for n, tag in kept.items() if n not in own]
        for tag in beyond(own, _current(listed, kept.values()), search.keep):
            why = f"more than {search.keep} earlier ones are kept"
            if not mine(str(name), tag.digest):
                owner = owners[model].get(tag.digest)
                why += f"; of the project {owner.label}" if owner else "; of a project unknown here"
            yield "earlier generation", tag, why
    if foreign:
        search.notes.append(
            f"left alone, as this project did not push them: {', '.join(sorted(foreign))} "
            "(--all-projects counts them, too, and says whose they are)"
        )


def _current(listed: Iterable[TagRecord], kept: Iterable[TagRecord]) -> str:
    """The manifest digest of the tag that these are earlier generations of; "" if it is gone."""
    one = next(iter(kept)).name
    for tag in listed:
        if not is_internal(tag.name):
            with suppress(ConfigError):  # a name of another registry: not one of deployq's
                if generation_number(TagName.parse(tag.name), one) is not None:
                    return tag.digest
    return ""


# ---------------------------------------------------------------- blobs


def _blobs(search: _Search, server: Server, store: LocalStore) -> Iterator[Leftover]:
    """Files among the blobs that no tag is made of."""
    alive = [seen for seen in find_markers(server, server.tags()) if seen.is_alive]
    if alive:
        search.notes.append(f"blobs are left alone: any may be for the {alive[0]}")
        return
    if store.unreadable:
        names = ", ".join(store.unreadable)
        search.notes.append(f"blobs are left alone: any may be part of {names}, which is damaged")
        return
    ours = _our_digests(search)
    private = store.folder.is_relative_to(search.session.runtime_dir.absolute())
    for path in store.unused():
        found = path.lstat()
        if search.is_young(found.st_mtime, found.st_ctime):
            search.notes.append(f"{path.name} is left alone: it is young, something may need it")
            continue
        digest = digest_in(path.name)
        if digest is None:
            partial = _OF_A_BLOB.fullmatch(path.name)
            mine = private or (partial is not None and partial[1] in ours)
            kind: LeftoverKind = "unfinished file"
            why = "an upload or a download that did not finish"
        else:
            mine, kind, why = digest in ours, "blob", "no tag has it"
        frees = search.links.drop([path]).freed_bytes if mine else _alone(path)
        yield Leftover(kind, path.name, found.st_size, frees, why, mine, path)


def _alone(path: Path) -> int:
    """What removing one file frees by itself."""
    return Links().drop([path]).freed_bytes


def _our_digests(search: _Search) -> frozenset[str]:
    """Digests of weights that deployq knows that it made."""
    store = ArtifactStore(search.session.cache_dir)
    made = {record.artifact.digest for record in store.records()}
    return frozenset(made | {entry.blob_digest for entry in search.entries})


# ---------------------------------------------------------------- artifacts


def _artifacts(search: _Search) -> Iterator[Leftover]:
    used = {entry.artifact_key for entry in search.entries}
    sources = {entry.source_digest for entry in search.entries}  # what was converted, too
    for record in ArtifactStore(search.session.cache_dir).records():
        artifact = record.artifact
        folder = artifact.path.parent
        needed = artifact.key in used or artifact.digest in sources
        if needed and folder.name == artifact.key:
            continue
        if search.is_young(_last_used(folder)):
            search.notes.append(
                f"artifact {artifact.key[:12]} ({artifact.quant}) is left alone: used just now"
            )
            continue
        freed = search.links.drop([artifact.path])
        why = "no deployq.lock names it"
        if freed.linked_bytes:
            why += "; a server's store still has the same file"
        size = freed.freed_bytes + freed.linked_bytes
        yield Leftover("artifact", folder.name, size, freed.freed_bytes, why, path=artifact.path)


def _half_built(search: _Search) -> Iterator[Leftover]:
    """What killed processes left of artifacts: their lock is free, whatever the folder's age."""
    for half in Workshop(search.session.cache_dir).half_built():
        if not half.alive:
            why = "a process was killed while it made this"
            yield Leftover(
                "half-built artifact", half.key, half.n_bytes, half.n_bytes, why, path=half.folder
            )


def _matrices(search: _Search) -> Iterator[Leftover]:
    """Importance matrices that nothing is made with; of the suite, or copies of a user's file."""
    cache = search.session.cache_dir
    used = {entry.imatrix_digest for entry in search.entries}
    used |= {record.artifact.imatrix_digest for record in ArtifactStore(cache).records()}
    for path in sorted((cache / "imatrix").glob(f"*/{MATRIX}")):
        if search.session.digests.sha256(path) in used or search.is_young(path.stat().st_mtime):
            continue
        size = path.stat().st_size
        why = "no deployq.lock and no artifact was made with it"
        yield Leftover("importance matrix", path.parent.name, size, size, why, path=path)


def _texts(search: _Search) -> Iterator[Leftover]:
    """Texts to measure by; each is rendered again when it is wanted."""
    for path in sorted((search.session.cache_dir / "texts").glob("*.txt")):
        age_seconds = search.now - path.stat().st_mtime
        if age_seconds > max(search.young_seconds, TEXT_DAYS * 86400):
            size = path.stat().st_size
            why = f"older than {TEXT_DAYS} days; it is made again when it is wanted"
            yield Leftover("text", path.stem, size, size, why, path=path)


def _last_used(folder: Path) -> float:
    try:
        return (folder / RECORD).stat().st_mtime
    except OSError:
        return 0.0
