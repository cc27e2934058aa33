"""`deployq compare`: what changed from one run to another."""

from __future__ import annotations

from pathlib import Path

import click

from deployq import report
from deployq.cli.completing import run_names
from deployq.cli.shared import json_option, session_of, show_json
from deployq.errors import VerificationFailed
from deployq.pipeline.runs import find_run, load_run
from deployq.proof.comparison import compare_runs


@click.command()
@click.argument("before", shell_complete=run_names)
@click.argument("after", required=False, shell_complete=run_names)
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page, too.",
)
@click.option("--fail-on-worse", is_flag=True, help="Exit code 4 where something got worse.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    before: str,
    after: str | None,
    page: Path | None,
    fail_on_worse: bool,
    as_json: bool,
) -> None:
    """Show what got better, what got worse, and what is noise, from run BEFORE to run AFTER.

    A run is named as for `deployq report`; AFTER defaults to the newest. Only quants that both
    have are compared, on the prompts that both asked.

    \b
    Examples:
      deployq compare 2026-11-24
      deployq compare main-run/report.json .deployq/runs/2026-11-25T10-07-18Z --html diff.html
    """
    with session_of(ctx) as session:
        one, other = load_run(find_run(session, before)), load_run(find_run(session, after))
    found = compare_runs(one, other)
    if page:
        report.write_text(page, report.comparison_page(found))
    if as_json:
        show_json(report.comparison_document(found))
    else:
        report.show(report.comparison_view(found))
    if fail_on_worse and found.verdict == "worse":
        ctx.exit(VerificationFailed.exit_code)
