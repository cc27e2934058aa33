"""Which secret and which certificates go with which server, by the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from deployq.addresses import is_plain_remote, same_address
from deployq.errors import ConfigError
from deployq.pipeline.session import Session
from deployq.tags.access import Access, access_by, read_secret
from deployq.types import AddressedRuntime


def access_to(session: Session, url: str) -> Access:
    """How the server at an address is asked: as its targets say, or as [runtime] does.

    Raises:
        ConfigError: two settings are at odds, or the secret can't be had.
    """
    said = dict(_settings(session, url))
    by_value: dict[tuple[str | None, Path | None], str] = {}
    for where, value in said.items():
        by_value.setdefault(value, where)
    if len(by_value) > 1:
        one, other = list(by_value.values())[:2]
        raise ConfigError(
            f"{one} and {other} are one server, and say different things of auth or ca",
            hint="write the same auth and ca for both in deployq.toml",
        )
    return _access(session.env, *next(iter(by_value), (None, None)))


def default_access(session: Session) -> Access:
    """How the default server is asked: as [runtime] says.

    Raises:
        ConfigError: the secret can't be had.
    """
    return _access(session.env, session.config.runtime.auth, session.config.runtime.ca)


def warn_of_plain_http(session: Session, url: str) -> None:
    """Say, once for each server, that its connection is open to everybody on the way."""
    if is_plain_remote(url):
        session.talk_once(
            f"warning: {url} is plain http on another machine: who is on the way there can read "
            "and change what is sent, and everybody in that network can use the server. "
            "An ssh tunnel mends both: docs/servers.md"
        )


def _access(env: Mapping[str, str], auth: str | None, ca: Path | None) -> Access:
    return access_by(read_secret(auth, env), ca) if auth else Access(ca=ca)


def _settings(session: Session, url: str) -> Iterator[tuple[str, tuple[str | None, Path | None]]]:
    """What is said of the server at an address, and where."""
    for name, target in session.config.targets.items():
        if target.host and same_address(target.host, url):
            yield f"targets.{name}", (target.auth, target.ca)
    runtime = session.config.runtime
    default = session.runtimes().get(runtime.name) if runtime.auth or runtime.ca else None
    if isinstance(default, AddressedRuntime) and same_address(default.url, url):
        yield "runtime", (runtime.auth, runtime.ca)
