"""The Ollama servers of a command: those that targets name, and the default one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from deployq.addresses import is_local, url_of
from deployq.deadlines import in_background
from deployq.errors import ConfigError, DeployqError
from deployq.pipeline.access import access_to, default_access, warn_of_plain_http
from deployq.pipeline.locks import recover
from deployq.pipeline.session import Session
from deployq.pipeline.site import Site
from deployq.plugins import pick
from deployq.plugins.waiting import waiting_for
from deployq.tags.access import Access
from deployq.tags.lockfile import server_name
from deployq.tags.server import FIRST_ANSWER_SECONDS, Server
from deployq.types import Endpoint, PrivateRuntime, Runtime, StoringRuntime

T = TypeVar("T")

UNNOTICED_SECONDS = 3.0
"""After so long people wonder what they wait for."""

START_SECONDS = 60.0
"""A server that deployq started itself may be slow on a busy machine."""

__all__ = ["Approach", "Site", "connect", "default_site", "host_site", "site_of"]


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
        key = server_name(endpoint.url) if name == "ollama" else name
        # One that deployq starts asks nobody who they are.
        own = isinstance(runtime, PrivateRuntime)
        access = Access() if own else default_access(session)
        seconds = START_SECONDS if own else FIRST_ANSWER_SECONDS
        with _site(session, key, endpoint, access, seconds) as site:
            yield site


@contextmanager
def _started(session: Session, runtime: Runtime, port: int) -> Iterator[Endpoint]:
    url = getattr(runtime, "url", "")
    what = f"{url} to answer" if url else f"the server of the runtime {runtime.name} to start"
    with ExitStack() as stack:
        with _waiting(session, what, ""):
            endpoint = stack.enter_context(_start(session, runtime, port))
        yield endpoint


def _waiting(session: Session, what: str, hint: str) -> AbstractContextManager[None]:
    """Says what is waited for, where that takes long; others go on meanwhile."""
    return waiting_for(what, hint, session.talk, UNNOTICED_SECONDS)


def _start(session: Session, runtime: Runtime, port: int) -> AbstractContextManager[Endpoint]:
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
    with _site(session, server_name(url), endpoint, access_to(session, url)) as site:
        yield site


def _guessed_models(session: Session, url: str) -> Path | None:
    """Where an Ollama of this machine would keep its models; place_blob asks whether it does."""
    ollama = session.runtimes().get("ollama")
    if is_local(url) and isinstance(ollama, StoringRuntime):
        return ollama.models_dir(session.runtime_dir)
    return None


@contextmanager
def _site(
    session: Session,
    key: str,
    endpoint: Endpoint,
    access: Access,
    first_answer_seconds: float = FIRST_ANSWER_SECONDS,
) -> Iterator[Site]:
    """A server of a version that deployq knows, on which nothing is left half done."""
    with Server(
        endpoint.url,
        first_answer_seconds=first_answer_seconds,
        generate_timeout_seconds=session.config.runtime.timeout,
        access=access,
    ) as server:
        warn_of_plain_http(session, server.url)
        limit = f"it is given {first_answer_seconds:g} s"
        with _waiting(session, f"{server.url} to answer", limit):
            version = server.ensure_supported()
        site = Site(key, replace(endpoint, version=version), server)
        with _waiting(session, f"{server.url} to tell what it holds", ""):
            recover(session, site)
        yield site


def site_of(session: Session, host: str | None) -> AbstractContextManager[Site]:
    """The site of a target: its own host's, else the default one."""
    return host_site(session, host) if host else default_site(session)


class Approach(Generic[T]):
    """Servers that are being connected to, all at once, each in a thread of its own.

    One that is slow, or never answers, holds up nothing on the others.

    Args:
        session: of the command.
        hosts: those of targets; None is the default server.
        stack: until it is closed, what was reached stays open.
        then: is called with each as soon as it is reached, in its thread.
    """

    def __init__(
        self,
        session: Session,
        hosts: Iterable[str | None],
        stack: ExitStack,
        then: Callable[[str | None, Site], T],
    ) -> None:
        self._session, self._stack, self._then = session, stack, then
        wanted = dict.fromkeys(hosts)
        self.pending = {host: in_background(partial(self._reach, host)) for host in wanted}
        stack.callback(self._leave)

    def arrived(
        self, patience_seconds: float | None = None
    ) -> tuple[dict[str | None, T], dict[str | None, DeployqError]]:
        """What `then` gave by host, in the order asked for, and why it gave nothing.

        All that are pending are waited for; after `patience_seconds` no longer than for one.
        """
        futures = tuple(self.pending.values())
        if not wait(futures, patience_seconds).done:
            wait(futures, return_when=FIRST_COMPLETED)
        reached: dict[str | None, T] = {}
        lost: dict[str | None, DeployqError] = {}
        for host in [host for host, future in self.pending.items() if future.done()]:
            outcome = self.pending.pop(host).result()
            if isinstance(outcome, DeployqError):
                lost[host] = outcome
            else:
                reached[host], closing = outcome
                self._stack.push(closing)
        return reached, lost

    def _reach(self, host: str | None) -> tuple[T, ExitStack] | DeployqError:
        with ExitStack() as closing:
            try:
                site = closing.enter_context(site_of(self._session, host))
                return self._then(host, site), closing.pop_all()
            except DeployqError as exc:
                return exc

    def _leave(self) -> None:
        """Close what comes too late for anybody."""

        def close(future: Future[tuple[T, ExitStack] | DeployqError]) -> None:
            if future.exception() is None and isinstance(outcome := future.result(), tuple):
                outcome[1].close()

        for future in self.pending.values():
            future.add_done_callback(close)


def connect(
    session: Session, hosts: Iterable[str | None], stack: ExitStack
) -> tuple[Mapping[str | None, Site], Mapping[str | None, DeployqError]]:
    """Every host's site, each once, open as long as `stack`; and those that failed, with why."""
    return Approach(session, hosts, stack, lambda _, site: site).arrived()
