"""`deployq report`: a run as a page, or in another format."""

from __future__ import annotations

from pathlib import Path

import click

from deployq import report
from deployq.cli.completing import run_names
from deployq.cli.shared import session_of
from deployq.pipeline.runs import find_run, load_run, rendered


@click.command()
@click.argument("run", required=False, shell_complete=run_names)
@click.option(
    "--format",
    "name",
    default="html",
    show_default=True,
    metavar="NAME",
    help="html, markdown, json, junit, or what a plugin brings.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Where to write it, `-` for stdout; default: report.* in the run's folder.",
)
@click.option("--open", "open_it", is_flag=True, help="Open the file, too.")
@click.pass_context
def command(
    ctx: click.Context, run: str | None, name: str, output: Path | None, open_it: bool
) -> None:
    """Write RUN as one HTML page, and say where.

    RUN is the name of a run (its beginning will do), its folder, or its JSON document; default:
    the newest. The page needs no network and runs no script.

    \b
    Examples:
      deployq report --open
      deployq report 2026-11-25T10 --format markdown --output -
    """
    with session_of(ctx) as session:
        document = find_run(session, run)
        text, suffix = rendered(session, load_run(document), name)
    if output == Path("-"):
        click.echo(text, nl=False)
        return
    place = output or document.with_name(f"report{suffix}" if suffix != ".json" else "run.json")
    report.write_text(place, text)
    click.echo(str(place))
    if open_it:
        click.launch(str(place))
