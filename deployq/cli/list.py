"""`deployq list`: the tags of a server."""

from __future__ import annotations

import click

from deployq import report
from deployq.cli.server import on_server, server_options
from deployq.cli.shared import show_json
from deployq.pipeline.inventory import held_tags


@click.command()
@click.option("--all", "show_all", is_flag=True, help="Also tags that deployq did not make.")
@server_options
@click.pass_context
def command(
    ctx: click.Context, show_all: bool, host: str | None, runtime: str | None, as_json: bool
) -> None:
    """List the tags that deployq made, with their size, checks and speed.

    \b
    Examples:
      deployq list
      deployq list --all --host http://192.168.1.20:11434
    """
    with on_server(ctx, host, runtime) as (session, site):
        tags = [tag for tag in held_tags(session, site) if show_all or tag.made_here]
    if as_json:
        show_json(report.tags_document(tags))
    elif tags:
        report.show(report.tags_table(tags))
    else:
        session.talk(f"no tag of deployq's on {site.endpoint.url}; try: deployq push MODEL")
