"""Damaged blobs taken off a server, so that the push that found them puts whole ones there.

A server takes any file under a blob's name for that blob: it neither looks into it nor lets it be
overwritten. Where its store is on this machine and ours to write, the file is removed. Elsewhere
the server removes it itself, with the last tag that uses it: the damaged tags are deleted, and
the push makes them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from deployq.errors import ServerError, ServerRefused
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.tags.damage import Damage
from deployq.tags.freed import store_of
from deployq.tags.manifests import LocalStore
from deployq.tags.names import HISTORY, STAGING, TagName
from deployq.tags.registry import remove


def take_off(
    session: Session, site: Site, model: str, damaged: Mapping[str, tuple[Damage, ...]]
) -> None:
    """Remove the damaged blobs of a model's tags from a server; those that are gone need nothing.

    The caller holds the model's lock, and has the whole artifacts.

    Args:
        damaged: by tag, what is damaged of it.

    Raises:
        ServerError: the server keeps one, since tags that are not the model's use it too.
    """
    parts = [one for found in damaged.values() for one in found if one.fault != "gone"]
    if not parts:
        return
    store = store_of(site.server, site.endpoint.models_dir)
    if store is None:
        _drop_unread(session, site, model)
        return
    for digest in dict.fromkeys(one.digest for one in parts):
        holders = [held.name for held in store.tags if digest in held.blobs]
        _unload(site, holders)
        if not _unlinked(store, digest):
            _drop_holders(session, site, model, store, digest, holders)


def _unlinked(store: LocalStore, digest: str) -> bool:
    try:
        store.path(digest).unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _unload(site: Site, names: Iterable[str]) -> None:
    """Out of memory: a loaded model would go on answering from the damaged file."""
    lower = {name.lower() for name in names}
    for loaded in site.server.ps():
        if loaded.name.lower() in lower:
            site.server.unload(loaded.name)


def _drop_holders(
    session: Session, site: Site, model: str, store: LocalStore, digest: str, holders: list[str]
) -> None:
    """Delete the tags that use a blob which only the server can remove."""
    foreign = [name for name in holders if not _is_of(name, model)]
    if foreign:
        raise ServerError(
            f"{site.endpoint.url}: {store.path(digest)} is damaged and can't be removed: "
            f"{', '.join(foreign)} use it too",
            hint=f"sudo rm {store.path(digest)}, then deployq push {model}",
        )
    _drop(session, site, holders)


def _drop_unread(session: Session, site: Site, model: str) -> None:
    """Delete the model's tags that the server can't read, where nothing else is known of them.

    Raises:
        ServerError: other tags can't be read, either; they may hold the same blob.
    """
    unread = [record.name for record in site.server.tags() if not _reads(site, record.name)]
    foreign = [name for name in unread if not _is_of(name, model)]
    if foreign:
        raise ServerError(
            f"{site.endpoint.url} can't read {', '.join(foreign)}, either: as long as they are "
            f"there, it may keep the damaged blob",
            hint=f"ollama rm {' '.join(foreign)} (on that server), then deployq push {model}",
        )
    _drop(session, site, unread)


def _reads(site: Site, name: str) -> bool:
    try:
        site.server.show(name, fresh=True)
    except ServerRefused:
        return False
    return True


def _drop(session: Session, site: Site, names: Iterable[str]) -> None:
    for name in names:
        session.talk(f"{name} on {site.endpoint.url} is damaged and is deleted there")
        with suppress(ServerRefused):  # it is gone already, or its own log says why not
            remove(site.server, TagName.parse(name))


def _is_of(name: str, model: str) -> bool:
    """Whether a name is a model's: its tags, their generations, what is staged of it."""
    bare = name.lower()
    for internal in (HISTORY, STAGING):
        bare = bare.removeprefix(f"{internal}/")
    return bare.partition(":")[0] == model.lower()
