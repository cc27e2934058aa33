"""The Ollama servers of a command: those that targets name, and the default one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event

from deployq.addresses import is_local, url_of
from deployq.errors import ConfigError, DeployqError
from deployq.pipeline.access import access_to, default_access, warn_of_plain_http
from deployq.pipeline.locks import recover
from deployq.pipeline.parallel import at_once
from deployq.pipeline.session import Session
from deployq.pipeline.site import Site
from deployq.plugins import pick
from deployq.tags.access import Access
from deployq.tags.server import Server
from deployq.types import Endpoint, PrivateRuntime, Runtime, StoringRuntime

__all__ = ["Site", "connect", "default_site", "host_site", "site_of"]


@contextmanager
def default_site(session: Session, port: int = 0) -> Iterator[Site]:
    """The server of the configured runtime; it is up inside the block.

    Args:
        port: where a server that deployq starts listens; 0: any free port.

    Raises:
        ConfigError: a port was asked for, and this runtime starts no server.
        PluginError: no plugin brings that runtime.
        ServerError: it can't be reached or started.
    """
    name = session.config.runtime.name
    runtime = pick(session.runtimes(), name, "runtime")
    with _started(session, runtime, port) as endpoint:
        if endpoint.note:
            session.talk(endpoint.note)
        key = endpoint.url if name == "ollama" else name
        # One that deployq starts asks nobody who they are.
        own = isinstance(runtime, PrivateRuntime)
        with _site(session, key, endpoint, Access() if own else default_access(session)) as site:
            yield site


def _started(session: Session, runtime: Runtime, port: int) -> AbstractContextManager[Endpoint]:
    if not port:
        return runtime.start(session.runtime_dir)
    if not isinstance(runtime, PrivateRuntime):
        raise ConfigError(
            f"the runtime {runtime.name} starts no server, so --port means nothing to it",
            hint="deployq serve --runtime embedded --port PORT",
        )
    return runtime.start(session.runtime_dir, port)


@contextmanager
def host_site(session: Session, host: str) -> Iterator[Site]:
    """The server at an address that a target names."""
    url = url_of(host)
    endpoint = Endpoint(url, "ollama", models_dir=_guessed_models(session, url))
    with _site(session, endpoint.url, endpoint, access_to(session, url)) as site:
        yield site


def _guessed_models(session: Session, url: str) -> Path | None:
    """Where an Ollama of this machine would keep its models; place_blob asks whether it does."""
    ollama = session.runtimes().get("ollama")
    if is_local(url) and isinstance(ollama, StoringRuntime):
        return ollama.models_dir(session.runtime_dir)
    return None


@contextmanager
def _site(session: Session, key: str, endpoint: Endpoint, access: Access) -> Iterator[Site]:
    """A server of a version that deployq knows, on which nothing is left half done."""
    timeout = session.config.runtime.timeout
    with Server(endpoint.url, generate_timeout_seconds=timeout, access=access) as server:
        warn_of_plain_http(session, server.url)
        version = server.ensure_supported()
        site = Site(key, replace(endpoint, version=version), server)
        recover(session, site)
        yield site


def site_of(session: Session, host: str | None) -> AbstractContextManager[Site]:
    """The site of a target: its own host's, else the default one."""
    return host_site(session, host) if host else default_site(session)


def connect(
    session: Session, hosts: Iterable[str | None], stack: ExitStack
) -> tuple[Mapping[str | None, Site], Mapping[str | None, DeployqError]]:
    """Every host's site, each once, open as long as `stack`; and those that failed, with why.

    All are asked at once, as one may take long to answer. One that is not there stops nothing on
    the others.
    """
    wanted = list(dict.fromkeys(hosts))
    found = at_once([partial(_entered, session, host) for host in wanted], Event())
    sites: dict[str | None, Site] = {}
    lost: dict[str | None, DeployqError] = {}
    for host, entered in zip(wanted, found, strict=True):
        if isinstance(entered, DeployqError):
            lost[host] = entered
        else:
            sites[host] = entered[0]
            stack.push(entered[1])
    return sites, lost


def _entered(session: Session, host: str | None) -> tuple[Site, ExitStack] | DeployqError:
    """A site and what closes it, or why there is none."""
    with ExitStack() as stack:
        try:
            site = stack.enter_context(site_of(session, host))
        except DeployqError as exc:
            return exc
        return site, stack.pop_all()
