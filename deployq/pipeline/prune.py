"""Taking away what was found: each thing is looked at again right before it goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from deployq.artifacts.workshop import Workshop
from deployq.errors import DeployqError, DiskError
from deployq.pipeline.locks import alone_now
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.tags.freed import Links, gone_with, store_of
from deployq.tags.manifests import LocalStore, digest_in
from deployq.tags.markers import find_markers
from deployq.tags.names import TagName, owner_of
from deployq.tags.owners import tidy_owners
from deployq.tags.records import TagRecord, find_tag
from deployq.tags.registry import discard
from deployq.types import Leftover, Pruned


def prune(session: Session, site: Site | None, items: Iterable[Leftover]) -> Iterator[Pruned]:
    """Take things away one by one, in their order; one that can't go stops nothing.

    Args:
        site: the server that tags and blobs are on; None where there are only artifacts.
    """
    for item in items:
        try:
            yield Pruned(item, _remove(session, site, item))
        except DeployqError as exc:
            yield Pruned(item, problem=exc.message)
        except OSError as exc:
            yield Pruned(item, problem=exc.strerror or str(exc))


def _remove(session: Session, site: Site | None, item: Leftover) -> int:
    if item.kind == "artifact":
        return Workshop(session.cache_dir).remove(item.name)
    if item.kind == "half-built artifact":
        return _clear(session, item)
    if item.kind in ("importance matrix", "text"):
        assert item.path is not None, "it is a file"
        item.path.unlink()
        return item.size_bytes
    assert site is not None, "tags and blobs are found on a server"
    if item.kind == "staged tag":
        return _remove_staged(site, item)
    if item.kind == "earlier generation":
        return _remove_generation(session, site, item)
    return _remove_file(site, item)


def _clear(session: Session, item: Leftover) -> int:
    assert item.path is not None, "it is a folder"
    gone = Workshop(session.cache_dir).clear_half_built(item.path)
    if not gone and item.path.exists():
        raise DiskError("somebody makes it now")
    return sum(half.n_bytes for half in gone)


def _remove_staged(site: Site, item: Leftover) -> int:
    held = site.server.tags()
    if owner_of(item.name) in {
        seen.id for seen in find_markers(site.server, held) if seen.is_alive
    }:
        raise DiskError("a push of that model is under way")
    return _remove_tag(site, item, held)


def _remove_generation(session: Session, site: Site, item: Leftover) -> int:
    model = TagName.parse(item.name).model
    with alone_now(session, site, model, "prune") as hold:
        if hold is None:
            raise DiskError("a push of that model is under way")
        freed = _remove_tag(site, item, site.server.tags())
        tidy_owners(site.server, model)
        return freed


def _remove_tag(site: Site, item: Leftover, held: Sequence[TagRecord]) -> int:
    found = find_tag(held, item.name)
    if found is None or found.digest != item.digest:
        raise DiskError("it changed meanwhile")
    store = store_of(site.server, site.endpoint.models_dir)
    files = _with_links(gone_with(store, [item.name]) if store else [])
    discard(site.server, TagName.parse(item.name))
    if site.server.tag(item.name) is not None:
        raise DiskError("the server keeps it: its own log says why")
    if store is None:
        return item.frees_bytes
    return sum(size for path, size in files.items() if not path.exists())


def _with_links(paths: Iterable[Path]) -> dict[Path, int]:
    """The bytes that each file's going would free."""
    return {path: Links().drop([path]).freed_bytes for path in paths}


def _remove_file(site: Site, item: Leftover) -> int:
    assert item.path is not None, "a blob has a path"
    if digest_in(item.path.name) in LocalStore.read(item.path.parent.parent).used:
        raise DiskError(f"a tag of {site.endpoint.url} uses it by now")
    freed = Links().drop([item.path]).freed_bytes
    item.path.unlink()
    return freed
