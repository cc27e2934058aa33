"""`deployq history`: what a tag was before."""

from __future__ import annotations

import click

from deployq import report
from deployq.cli.completing import tag_names
from deployq.cli.server import on_server, server_options
from deployq.cli.shared import show_json
from deployq.pipeline.generations import history
from deployq.tags.names import TagName


@click.command()
@click.argument("tag", shell_complete=tag_names)
@server_options
@click.pass_context
def command(
    ctx: click.Context, tag: str, host: str | None, runtime: str | None, as_json: bool
) -> None:
    """Show every generation of TAG that the server has, the newest first.

    \b
    Examples:
      deployq history task-api:q4_k_m
      deployq diff task-api:q4_k_m@1 task-api:q4_k_m
      deployq rollback task-api:q4_k_m
    """
    name = TagName.parse(tag)
    with on_server(ctx, host, runtime) as (session, site):
        generations = history(session, site, name)
    if as_json:
        show_json(report.history_document(generations))
    else:
        report.show(report.history_table(generations))
