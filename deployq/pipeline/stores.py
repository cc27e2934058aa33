"""The file systems that a push writes to; nothing is written and no server is asked."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from deployq.addresses import base_url, is_local
from deployq.pipeline.session import Session
from deployq.plan.disk import Place, ServerStore, disk_plan, require_room
from deployq.tags.blobs import why_not_linked
from deployq.tags.versions import keeps_weights
from deployq.types import AddressedRuntime, QuantSize, Runtime, StoringRuntime


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
    """Where each target's server keeps its models; hosts that are one server get one store.

    A server on this machine whose folder is not known counts with the artifacts: better too much
    than too little.

    Args:
        versions: by host, where a server was asked already: an old one makes a copy of what is
            linked.
    """
    known = versions or {}
    stores: dict[str, ServerStore] = {}
    found: dict[str | None, ServerStore] = {}
    for host in sorted(hosts, key=lambda host: host or ""):
        key = _server_key(session, host)
        if key not in stores:
            stores[key] = _store(session, host, artifacts, known.get(host, ""))
        found[host] = stores[key]
    return found


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
    builds: dict[ServerStore, dict[str, QuantSize]] = {}
    for host, sizes in copies.items():
        builds.setdefault(stores[host], {}).update((size.quant, size) for size in sizes)
    listed = {store: list(held.values()) for store, held in builds.items()}
    require_room(disk_plan(listed, artifacts, frozenset(cached)))


def _server_key(session: Session, host: str | None) -> str:
    """What is equal for hosts that are one server, however they are spelled."""
    if host is not None:
        return _address_key(host)
    runtime = session.runtimes().get(session.config.runtime.name)
    if isinstance(runtime, AddressedRuntime):
        return _address_key(runtime.url)
    return "a server of deployq's own"


def _address_key(address: str) -> str:
    url = base_url(address)
    split = urlsplit(url)
    return f"here:{split.port}{split.path}" if _is_here(url) else url.casefold()


def _is_here(url: str) -> bool:
    """Whether an address is this machine's: the loopback, its own name, or one of its own IPs.

    No name is looked up: one that only a resolver knows to be this machine's counts as another's.
    """
    host = (urlsplit(url).hostname or "").rstrip(".")
    own = socket.gethostname().casefold()
    if is_local(url) or host in (own, own.partition(".")[0], f"{own.partition('.')[0]}.local"):
        return True
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.inet_pton(family, host)
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))  # only an address of this machine can be bound
    except (OSError, ValueError):
        return False
    return True


def _store(session: Session, host: str | None, artifacts: Place, version: str) -> ServerStore:
    runtimes = session.runtimes()
    if host is None:
        name = session.config.runtime.name
        label = "the server's models" if name == "embedded" else "Ollama's models"
        return _runtime_store(session, label, runtimes.get(name), artifacts, version)
    ollama = runtimes.get("ollama")
    if isinstance(ollama, AddressedRuntime) and _address_key(ollama.url) == _address_key(host):
        return _runtime_store(session, "Ollama's models", ollama, artifacts, version)
    return ServerStore(f"Ollama at {host}", artifacts if _is_here(base_url(host)) else None)


def _runtime_store(
    session: Session, name: str, runtime: Runtime | None, artifacts: Place, version: str
) -> ServerStore:
    if isinstance(runtime, AddressedRuntime) and not _is_here(runtime.url):
        return ServerStore(f"Ollama at {runtime.url}", None)
    if not isinstance(runtime, StoringRuntime):
        return ServerStore(name, artifacts)
    folder = runtime.models_dir(session.runtime_dir)
    if folder is None:
        return ServerStore(name, artifacts)
    links = keeps_weights(version) and not why_not_linked(folder, artifacts.path)
    return ServerStore(name, place_of(folder), links)
