"""`hf:ORG/NAME@REVISION` as a source: fetched, or for a plan its small files and headers alone.

Imported with the first that is named (`__init__.pyi`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from deployq.errors import DiskError, SourceError
from deployq.pipeline.fetched import Fetched, Reach
from deployq.pipeline.resolve import Model
from deployq.pipeline.session import Session
from deployq.source.hub import Revision, download, find_revision, hub_cache, read_start
from deployq.source.hub_names import HubName, Wanted, wanted_files
from deployq.source.outline import outline_gguf, outline_safetensors
from deployq.tags.lockfile import Lockfile
from deployq.units import format_bytes


def hub_source(session: Session, text: str, reach: Reach) -> Fetched:
    """A model of the Hugging Face hub, at one commit.

    Args:
        session: in whose cache the listings and the outlines are kept.
        text: its name.
        reach: "download" gets what is missing; "outline" gets small files and headers, unless all
            of it is here; "local" asks nobody.

    Raises:
        ConfigError: no such repository or revision.
        SourceError: it can't be fetched, or is no model.
        DiskError: there is no room for it.
    """
    name = HubName.parse(text)
    records = session.cache_dir / "hub" / "listings"
    found = find_revision(name, records, ask=reach != "local")
    if found.stale and reach != "local":
        session.talk_once(f"{name}: taken from the cache at {found.commit[:12]}: {found.stale}")
    wanted = wanted_files(name, found.files)
    missing = found.missing(wanted.all)
    if missing and reach == "local":
        raise SourceError(
            f"{name}: {_size(found, missing)} of it are not on this machine",
            hint=f"deployq push {text}",
        )
    notes = tuple(_notes(name, found, wanted))
    if missing and reach == "outline" and not wanted.pickled:
        folder = _outline(session, found, wanted)
        size = _size(found, found.missing(wanted.weights))
        more = f"not downloaded yet: a push downloads {size} into {hub_cache()}"
        return _fetched(found, wanted, folder, (*notes, more))
    if missing and reach == "outline":
        session.talk_once(f"{name}: pickle files have no header that could be read alone")
    folder = download(found, wanted.all, session.progress, wanted.weights)
    return _fetched(found, wanted, _together(session, found, wanted, folder), notes)


def _together(session: Session, found: Revision, wanted: Wanted, snapshot: Path) -> Path:
    """A GGUF and its projector, which is looked for beside it, in one folder."""
    if not wanted.projector or _parent(wanted.projector) == _parent(wanted.gguf):
        return snapshot
    home = session.cache_dir / "hub" / "together" / found.name.repo.replace("/", "--")
    folder = home / found.commit
    for file in wanted.weights:
        _link(snapshot / file, folder / _beside(wanted, file))
    return folder


def _beside(wanted: Wanted, file: str) -> Path:
    return Path(wanted.gguf).parent / Path(file).name if wanted.gguf else Path(file)


def _parent(file: str) -> str:
    return file.rpartition("/")[0]


def as_locked(session: Session, model: Model) -> Model:
    """The model at the commit that the lockfile has of it, where it has one."""
    name = HubName.parse(str(model.source))
    entries = Lockfile.load(session.lockfile).entries.values()
    locked = {e.source for e in entries if e.model == model.name and e.source}
    at = sorted(source for source in locked if source.startswith(f"{name}@"))
    return replace(model, source=Path(at[0])) if len(at) == 1 and not name.is_pinned else model


def _size(found: Revision, files: Iterable[str]) -> str:
    return format_bytes(sum(found.files.get(file, 0) for file in files))


def _notes(name: HubName, found: Revision, wanted: Wanted) -> Iterator[str]:
    asked = name.revision or "its default branch"
    which = "" if name.is_pinned else f", which {asked} is now"
    yield f"source: {name} at {found.commit[:12]}{which}"
    if wanted.why:
        yield f"source: {wanted.why}"
    if wanted.projector:
        yield f"projector: {wanted.projector}"


def _fetched(found: Revision, wanted: Wanted, folder: Path, notes: tuple[str, ...]) -> Fetched:
    name = found.name
    path = folder / (wanted.gguf or name.within)
    return Fetched(path, name.at(found.commit), notes, name.called)


def _outline(session: Session, found: Revision, wanted: Wanted) -> Path:
    """A folder with the small files and stand-ins for the weights."""
    snapshot = download(found, wanted.small, session.progress)
    home = session.cache_dir / "hub" / "outlines" / found.name.repo.replace("/", "--")
    folder = home / found.commit
    for file in wanted.small:
        _link(snapshot / file, folder / file)
    for number, file in enumerate(wanted.weights):
        session.progress(f"headers of {found.name}", number, len(wanted.weights), "files")
        _stand_in(found, file, folder / _beside(wanted, file))
    return folder


def _stand_in(found: Revision, file: str, path: Path) -> None:
    size = found.files[file]
    if path.is_file() and path.stat().st_size == size:
        return
    outline = outline_gguf if file.endswith(".gguf") else outline_safetensors
    outline(path, size, partial(read_start, found, file))


def _link(file: Path, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(file.resolve())
    except OSError as exc:
        raise DiskError(f"cannot write {path}: {exc.strerror or exc}") from exc
