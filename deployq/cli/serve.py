"""`deployq serve`: the configured server, up in the foreground."""

from __future__ import annotations

import time

import click

from deployq.cli.shared import runtime_option, session_of
from deployq.pipeline.servers import default_site

WAKE_SECONDS = 0.5


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port to listen on; default: any free one. Ollama's own is 11434.",
)
@runtime_option
@click.pass_context
def command(ctx: click.Context, port: int, runtime: str | None) -> None:
    """Keep the managed or embedded server up until Ctrl-C. It listens on this machine only.

    \b
    Examples:
      deployq serve --port 11500
      deployq serve --runtime embedded
    """
    with (
        session_of(ctx, runtime__name=runtime) as session,
        default_site(session, port=port) as site,
    ):
        click.echo(site.endpoint.url)
        names = ", ".join(site.server.names()) or "no tags yet"
        session.talk(f"Ollama's API ({site.endpoint.runtime}): {names}. Ctrl-C ends it.")
        while True:  # signal.pause() would sleep through a signal that comes right before it
            time.sleep(WAKE_SECONDS)
