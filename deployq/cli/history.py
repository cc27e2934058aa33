"""`deployq history`: what a tag was before."""

from __future__ import annotations

import click

from deployq import report
from deployq.cli.shared import (
    host_option,
    json_option,
    runtime_option,
    session_of,
    show_json,
)
from deployq.pipeline.generations import history
from deployq.pipeline.servers import site_of
from deployq.tags.names import TagName


@click.command()
@click.argument("tag")
@host_option
@runtime_option
@json_option
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
    with session_of(ctx, runtime__name=runtime) as session, site_of(session, host) as site:
        generations = history(session, site, name)
    if as_json:
        show_json(report.history_document(generations))
    else:
        report.show(report.history_table(generations))
