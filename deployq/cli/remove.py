"""`deployq remove`: take tags off the server."""

from __future__ import annotations

import dataclasses

import click

from deployq.cli.server import on_server, server_options
from deployq.cli.shared import can_ask, show_json
from deployq.pipeline.inventory import remove_tag, resolve_tags
from deployq.tags.freed import Freed
from deployq.units import format_bytes


@click.command()
@click.argument("tags", nargs=-1, required=True, metavar="TAG...")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@server_options
@click.pass_context
def command(
    ctx: click.Context,
    tags: tuple[str, ...],
    yes: bool,
    host: str | None,
    runtime: str | None,
    as_json: bool,
) -> None:
    """Remove each TAG from the server and from deployq.lock. Built artifacts stay.

    \b
    Examples:
      deployq remove task-api:q8_0
      deployq remove task-api -y
    """
    removed = []
    with on_server(ctx, host, runtime) as (session, site):
        names = resolve_tags(session, site, tags)
        if not yes and can_ask():
            click.confirm(f"Remove {', '.join(names)}?", abort=True, err=True)
        for name in names:
            freed = remove_tag(session, site, name)
            removed.append({"tag": name, **dataclasses.asdict(freed)})
            session.talk(f"removed {name}: {_freed(freed)}")
    if as_json:
        show_json({"schema": 1, "removed": removed})


def _freed(freed: Freed) -> str:
    if freed.held_by:
        return f"{format_bytes(freed.freed_bytes)} freed; {freed.held_by[0]} has its weights, too"
    if freed.linked_bytes:
        linked = format_bytes(freed.linked_bytes)
        return (
            f"{format_bytes(freed.freed_bytes)} freed; {linked} are also an artifact of the cache "
            "(deployq cache, deployq prune)"
        )
    return f"{format_bytes(freed.freed_bytes)} freed"
