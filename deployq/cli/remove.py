"""`deployq remove`: take tags off the server."""

from __future__ import annotations

import dataclasses

import click

from deployq.cli.completing import tag_names
from deployq.cli.server import on_server, server_options
from deployq.cli.shared import can_ask, show_json
from deployq.pipeline.inventory import Removed, remove_tag, resolve_tags
from deployq.tags.freed import Freed
from deployq.units import format_bytes


@click.command()
@click.argument("tags", nargs=-1, required=True, metavar="TAG...", shell_complete=tag_names)
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
    """Remove each TAG and its earlier generations from the server and from deployq.lock.

    Built artifacts stay.

    \b
    Examples:
      deployq remove task-api:q8_0
      deployq remove task-api -y
    """
    removed = []
    with on_server(ctx, host, runtime) as (session, site):
        names = resolve_tags(session, site, tags)
        if not yes and can_ask():
            question = f"Remove {', '.join(names)} and what they were before?"
            click.confirm(question, abort=True, err=True)
        for name in names:
            gone = remove_tag(session, site, name)
            counted = {"tag": name, "generations": gone.generations}
            removed.append({**counted, **dataclasses.asdict(gone.freed)})
            session.talk(f"removed {_named(gone)}: {_freed(gone.freed)}")
    if as_json:
        show_json({"schema": 1, "removed": removed})


def _named(gone: Removed) -> str:
    if not gone.generations:
        return gone.tag
    s = "" if gone.generations == 1 else "s"
    return f"{gone.tag} and {gone.generations} earlier generation{s}"


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
