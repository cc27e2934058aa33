"""`deployq status`: is everything still as it was pushed?"""

from __future__ import annotations

import click

from deployq import report
from deployq.cli.shared import json_option, runtime_option, session_of, show_json
from deployq.pipeline.status import status


@click.command()
@click.argument("names", nargs=-1, metavar="[MODEL|TAG]...")
@runtime_option
@json_option
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], runtime: str | None, as_json: bool) -> None:
    """Show what changed since the tags of deployq.lock were pushed; exit code 1 if anything did.

    On the servers: a tag that somebody changed by hand, or that is gone. Here: the source, the
    suite, the Modelfile. Nothing is loaded.

    \b
    Examples:
      deployq status
      deployq status task-api --json
    """
    with session_of(ctx, runtime__name=runtime) as session:
        found = status(session, names)
        if not found:
            session.talk("deployq.lock has no such tag; try: deployq push MODEL")
    if as_json:
        show_json(report.status_document(found))
    elif found:
        report.show(report.status_view(found))
    ctx.exit(0 if all(tag.ok for tag in found) else 1)
