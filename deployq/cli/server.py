"""What verbs that look at one server share; apart, as its client takes time to import."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from deployq.cli.shared import F, json_option, runtime_option, session_of
from deployq.pipeline.servers import Site, site_of
from deployq.pipeline.session import Session


def server_options(function: F) -> F:
    """Add `--host`, `--runtime` and `--json`."""
    host = click.option(
        "--host", metavar="URL", help="This Ollama server instead of the default one."
    )
    return host(runtime_option(json_option(function)))


@contextmanager
def on_server(
    ctx: click.Context, host: str | None, runtime: str | None
) -> Iterator[tuple[Session, Site]]:
    """The session of this command and the server that it is about, up while it lasts."""
    with session_of(ctx, runtime__name=runtime) as session, site_of(session, host) as site:
        yield session, site
