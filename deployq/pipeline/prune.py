"""Taking away what was found: each thing is looked at again right before it goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from deployq.artifacts.workshop import Workshop
from deployq.errors import DeployqError, DiskError
from deployq.pipeline.locks import alone_now
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.tags.freed import Links, gone_with, store_of
from deployq.tags.manifests import LocalStore, digest_in
from deployq.tags.names import TagName
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
    if item.kind in ("staged tag", "earlier generation"):
        return _remove_tag(session, site, item)
    return _remove_file(site, item)


def _clear(session: Session, item: Leftover) -> int:
    assert item.path is not None, "it is a folder"
    gone = Workshop(session.cache_dir).clear_half_built(item.path)
    if not gone and item.path.exists():
        raise DiskError("somebody makes it now")
    return sum(half.n_bytes for half in gone)


def _remove_tag(session: Session, site: Site, item: Leftover) -> int:
    name = TagName.parse(item.name)
    with alone_now(session, site.place, name.model) as mine:
        if not mine:
            raise DiskError("a push of that model is under way")
        held = site.server.tag(item.name)
        if held is None or held.digest != item.digest:
            raise DiskError("it changed meanwhile")
        store = store_of(site.server, site.endpoint.models_dir)
        files = _with_links(gone_with(store, [item.name]) if store else [])
        discard(site.server, name)
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
