"""The file systems that a push writes to; nothing is written and no server is asked."""

from __future__ import annotations

import ipaddress
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from deployq.pipeline.session import Session
from deployq.plan.disk import Place, ServerStore, disk_plan, require_room
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
    session: Session, hosts: Iterable[str | None], artifacts: Place
) -> dict[str | None, ServerStore]:
    """Where each target's server keeps its models.

    A server on this machine whose folder is not known counts with the artifacts: better too much
    than too little.
    """
    return {host: _store(session, host, artifacts) for host in hosts}


def require_disk(
    session: Session,
    copies: Mapping[str | None, Sequence[QuantSize]],
    cached: Iterable[str],
) -> None:
    """Make sure that there is room for what a push is about to write.

    Args:
        session: whose folders are written to.
        copies: by a target's host, what its server will get a copy of.
        cached: quants whose artifact is there already.

    Raises:
        DiskError: there is not; nothing was written.
    """
    artifacts = place_of(session.cache_dir)
    stores = server_stores(session, copies, artifacts)
    builds = {stores[host]: sizes for host, sizes in copies.items()}
    require_room(disk_plan(builds, artifacts, frozenset(cached)))


def _store(session: Session, host: str | None, artifacts: Place) -> ServerStore:
    if host is None:
        return _default_store(session, artifacts)
    here = _is_this_machine(host)
    return ServerStore(f"Ollama at {host}", artifacts if here else None)


def _default_store(session: Session, artifacts: Place) -> ServerStore:
    runtime = session.runtimes().get(session.config.runtime.name)
    name = "Ollama's models" if session.config.runtime.name != "embedded" else "the server's models"
    folder = None
    if isinstance(runtime, StoringRuntime):
        folder = runtime.models_dir(session.runtime_dir)
    return ServerStore(name, place_of(folder) if folder else artifacts)


def _is_this_machine(host: str) -> bool:
    name = urlsplit(host if "://" in host else f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
