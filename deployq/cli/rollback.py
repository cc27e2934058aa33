"""`deployq rollback`: give tags an earlier content again."""

from __future__ import annotations

import dataclasses

import click

from deployq.cli.completing import tag_names
from deployq.cli.server import on_server, server_options
from deployq.cli.shared import show_json
from deployq.pipeline.generations import rollback
from deployq.tags.names import TagName


@click.command()
@click.argument("tags", nargs=-1, required=True, metavar="TAG...", shell_complete=tag_names)
@click.option(
    "--to", type=click.IntRange(1), metavar="N", help="This generation; default: the one before."
)
@server_options
@click.pass_context
def command(
    ctx: click.Context,
    tags: tuple[str, ...],
    to: int | None,
    host: str | None,
    runtime: str | None,
    as_json: bool,
) -> None:
    """Give each TAG the content that it had before, all of them or none.

    Nothing is lost: what they hold now stays a generation, and the lockfile follows.

    \b
    Examples:
      deployq rollback task-api:q4_k_m
      deployq rollback task-api:q4_k_m task-api:laptop
      deployq rollback task-api:q4_k_m --to 3
    """
    names = [TagName.parse(tag) for tag in dict.fromkeys(tags)]
    with on_server(ctx, host, runtime) as (session, site):
        done = rollback(session, site, names, to)
        for back in done:
            before = f", it held {back.from_number}" if back.from_number else ""
            session.talk(f"{back.tag} holds generation {back.to_number} again{before}")
    if as_json:
        show_json({"schema": 1, "rolled_back": [dataclasses.asdict(back) for back in done]})
