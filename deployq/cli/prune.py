"""`deployq prune`: take away what nobody needs any more."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import click

from deployq import report
from deployq.cli.server import server_options
from deployq.cli.shared import can_ask, session_of, show_json
from deployq.errors import ServerUnreachable, ToolMissing
from deployq.pipeline.leftovers import find_leftovers
from deployq.pipeline.prune import prune
from deployq.pipeline.servers import Site, site_of
from deployq.pipeline.session import Session
from deployq.types import Leftover, Leftovers, Pruned
from deployq.units import format_bytes, parse_age


@click.command()
@click.option(
    "--keep",
    type=click.IntRange(0),
    metavar="N",
    help="Earlier generations of each tag that stay; without it, the setting tags.keep.",
)
@click.option("--orphans", is_flag=True, help="Also blobs that deployq can't tell it made.")
@click.option(
    "--older-than",
    default="1h",
    show_default=True,
    metavar="AGE",
    help="Leave alone what is younger (30m, 2h, 7d): somebody may be about to use it.",
)
@click.option(
    "--all-projects",
    is_flag=True,
    help="Also generations that other projects pushed; the list says whose they are.",
)
@click.option("--dry-run", is_flag=True, help="Show what would go, and stop.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@server_options
@click.pass_context
def command(
    ctx: click.Context,
    keep: int | None,
    orphans: bool,
    older_than: str,
    all_projects: bool,
    dry_run: bool,
    yes: bool,
    host: str | None,
    runtime: str | None,
    as_json: bool,
) -> None:
    """Remove leftovers: staged tags, old generations, orphaned blobs, artifacts without a tag.

    Shows first what would go and what that frees, then asks. An artifact that a deployq.lock
    names stays, also one of another project with the same cache. So do the staged tags of a push
    that is under way on whatever machine, and the generations that other projects pushed.

    \b
    Examples:
      deployq prune --dry-run
      deployq prune --keep 1 -y
    """
    young_seconds = parse_age(older_than)
    with session_of(ctx, runtime__name=runtime) as session, ExitStack() as stack:
        site = _site(session, host, stack)
        generations = session.config.tags.keep if keep is None else keep
        found = find_leftovers(
            session,
            site,
            keep=generations,
            young_seconds=young_seconds,
            all_projects=all_projects,
        )
        chosen = [item for item in found.items if item.made_here or orphans]
        if not as_json:
            _show(session, found, chosen)
        go = bool(chosen) and not dry_run and _may_go(session, yes)
        done = list(prune(session, site, chosen)) if go else []
        _tell(session, done)
    if as_json:
        show_json(report.prune_document(found, chosen, done))
    ctx.exit(1 if any(pruned.problem for pruned in done) else 0)


def _site(session: Session, host: str | None, stack: ExitStack) -> Site | None:
    """The server; None where the default one is not there: artifacts can go without it."""
    try:
        return stack.enter_context(site_of(session, host))
    except (ServerUnreachable, ToolMissing) as exc:
        if host is not None:
            raise
        session.talk(f"artifacts alone: {exc.message}")
        return None


def _show(session: Session, found: Leftovers, chosen: Sequence[Leftover]) -> None:
    for note in found.notes:
        session.talk(note)
    if found.items:
        report.show(report.prune_table(found, chosen))
    else:
        session.talk("nothing to remove")


def _may_go(session: Session, yes: bool) -> bool:
    if yes:
        return True
    if not can_ask():
        session.talk("nothing was removed: deployq prune -y removes it")
        return False
    return click.confirm("Remove this?", err=True)


def _tell(session: Session, done: Sequence[Pruned]) -> None:
    for pruned in done:
        if pruned.problem:
            session.talk(f"{pruned.item.name} stays: {pruned.problem}")
    if done:
        freed = sum(pruned.freed_bytes for pruned in done)
        gone = sum(not pruned.problem for pruned in done)
        session.talk(f"removed {gone} of {len(done)}, {format_bytes(freed)} freed")
