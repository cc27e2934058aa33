"""The file systems that a push writes to; nothing is written and no server is asked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from deployq.addresses import is_local
from deployq.pipeline.session import Session
from deployq.plan.disk import Place, ServerStore, disk_plan, require_room
from deployq.tags.blobs import why_not_linked
from deployq.tags.versions import keeps_weights
from deployq.types import QuantSize, StoringRuntime


def place_of(folder: Path) -> Place:
    """The file system of a folder, which need not exist yet."""
    nearest = existing(folder)
    return Place(shutil.disk_usage(nearest).free, folder, nearest.stat().st_dev)


def existing(path: Path) -> Path:
    """The nearest folder that exists, at or above `path`."""
    path = path.absolute()
    return next(p for p in (path, *path.parents) if p.exists() and os.access(p, os.R_OK))


def server_stores(
    session: Session,
    hosts: Iterable[str | None],
    artifacts: Place,
    versions: Mapping[str | None, str] | None = None,
) -> dict[str | None, ServerStore]:
    """Where each target's server keeps its models.

    A server on this machine whose folder is not known counts with the artifacts: better too much
    than too little.

    Args:
        versions: by host, where a server was asked already: an old one makes a copy of what is
            linked.
    """
    known = versions or {}
    return {host: _store(session, host, artifacts, known.get(host, "")) for host in hosts}


def require_disk(
    session: Session,
    copies: Mapping[str | None, Sequence[QuantSize]],
    cached: Iterable[str],
    versions: Mapping[str | None, str] | None = None,
) -> None:
    """Make sure that there is room for what a push is about to write.

    Args:
        session: whose folders are written to.
        copies: by a target's host, what its server will get.
        cached: quants whose artifact is there already.
        versions: of the servers, by host.

    Raises:
        DiskError: there is not; nothing was written.
    """
    artifacts = place_of(session.cache_dir)
    stores = server_stores(session, copies, artifacts, versions)
    builds = {stores[host]: sizes for host, sizes in copies.items()}
    require_room(disk_plan(builds, artifacts, frozenset(cached)))


def _store(session: Session, host: str | None, artifacts: Place, version: str) -> ServerStore:
    if host is None:
        return _default_store(session, artifacts, version)
    here = is_local(host)
    return ServerStore(f"Ollama at {host}", artifacts if here else None)


def _default_store(session: Session, artifacts: Place, version: str) -> ServerStore:
    embedded = session.config.runtime.name == "embedded"
    name = "the server's models" if embedded else "Ollama's models"
    runtime = session.runtimes().get(session.config.runtime.name)
    if not isinstance(runtime, StoringRuntime):
        return ServerStore(name, artifacts)
    folder = runtime.models_dir(session.runtime_dir)
    if folder is None:
        return ServerStore(name, artifacts)
    links = keeps_weights(version) and not why_not_linked(folder, artifacts.path)
    return ServerStore(name, place_of(folder), links)
