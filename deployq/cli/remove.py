"""`deployq remove`: take tags off the server."""

from __future__ import annotations

import dataclasses
import os
import sys

import click

from deployq.cli.shared import host_option, json_option, runtime_option, session_of, show_json
from deployq.pipeline.inventory import remove_tag, resolve_tags
from deployq.pipeline.servers import site_of
from deployq.tags.freed import Freed
from deployq.units import format_bytes


@click.command()
@click.argument("tags", nargs=-1, required=True, metavar="TAG...")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@host_option
@runtime_option
@json_option
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
    with session_of(ctx, runtime__name=runtime) as session, site_of(session, host) as site:
        names = resolve_tags(session, site, tags)
        if not yes and sys.stdin.isatty() and not os.environ.get("CI"):
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
