"""`deployq diff`: what differs between two tags, or two generations of one."""

from __future__ import annotations

import click

from deployq import report
from deployq.cli.completing import tag_names
from deployq.cli.server import on_server, server_options
from deployq.cli.shared import show_json
from deployq.pipeline.generations import difference


@click.command()
@click.argument("one", metavar="TAG[@N]", shell_complete=tag_names)
@click.argument("other", metavar="TAG[@N]", shell_complete=tag_names)
@server_options
@click.pass_context
def command(
    ctx: click.Context,
    one: str,
    other: str,
    host: str | None,
    runtime: str | None,
    as_json: bool,
) -> None:
    """Show what differs between two tags; @N is a generation of `deployq history`.

    \b
    Examples:
      deployq diff task-api:q4_k_m@1 task-api:q4_k_m
      deployq diff task-api:q4_k_m task-api:laptop
    """
    with on_server(ctx, host, runtime) as (session, site):
        found = difference(session, site, one, other)
    if as_json:
        show_json(report.difference_document(found))
    else:
        report.show(report.difference_view(found))
