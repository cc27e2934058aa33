"""`deployq verify`: a suite of prompts against tags."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import click

from deployq import report
from deployq.cli.completing import tag_names
from deployq.cli.server import on_server, server_options
from deployq.cli.shared import ci_options, require_one_form, session_of, show_json
from deployq.errors import LockfileError, VerificationFailed
from deployq.pipeline.checks import suite_at
from deployq.pipeline.inventory import resolve_tags, suite_for, verify_tag
from deployq.pipeline.status import status


@click.command()
@click.argument("tags", nargs=-1, metavar="TAG...", shell_complete=tag_names)
@click.option(
    "--locked",
    is_flag=True,
    help="Ask nothing: prove that servers hold the lockfile's; hashes weights on this machine.",
)
@click.option(
    "--suite",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The prompts (TOML or JSONL); default: the suite of the tag's model.",
)
@click.option("--threshold", type=click.FloatRange(0, 1), help="Share of prompts that must pass.")
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Prompts asked at a time."
)
@ci_options
@server_options
@click.pass_context
def command(
    ctx: click.Context,
    tags: tuple[str, ...],
    locked: bool,
    suite: Path | None,
    threshold: float | None,
    jobs: int,
    host: str | None,
    runtime: str | None,
    as_json: bool,
    as_markdown: bool,
    junit: Path | None,
) -> None:
    """Run a suite of prompts against each TAG; exit code 4 if one does not pass.

    A model's name alone means all the tags that deployq made of it.

    \b
    Examples:
      deployq verify task-api
      deployq verify --locked
      deployq verify task-api:q4_k_m --suite suite-full.jsonl --threshold 0.95
    """
    require_one_form(as_json, as_markdown)
    if locked:
        _locked(ctx, tags, runtime, as_json)
    if not tags:
        raise click.UsageError("Missing argument 'TAG...'", ctx)
    results = []
    with on_server(ctx, host, runtime) as (session, site):
        for tag in resolve_tags(session, site, tags):
            asked = suite_at(session, suite) if suite else suite_for(session, tag)
            if threshold is not None:
                asked = dataclasses.replace(asked, threshold=threshold)
            results.append(verify_tag(session, site, tag, asked, jobs=jobs))
    if junit:
        report.write_text(junit, report.verifications_junit(results))
    if as_json:
        show_json(report.verifications_document(results))
    elif as_markdown:
        click.echo(report.verifications_markdown(results), nl=False)
    else:
        for result in results:
            report.show(report.verification_view(result))
    if not all(result.ok for result in results):
        ctx.exit(VerificationFailed.exit_code)


def _locked(ctx: click.Context, tags: Sequence[str], runtime: str | None, as_json: bool) -> None:
    with session_of(ctx, runtime__name=runtime) as session:
        found = status(session, tags, servers_only=True, hash_weights=True)
        if not found:
            raise LockfileError(
                f"{session.lockfile.name} has no such tag", hint="deployq push MODEL makes one"
            )
    if as_json:
        show_json(report.status_document(found))
    else:
        report.show(report.status_view(found))
    ctx.exit(0 if all(tag.ok for tag in found) else VerificationFailed.exit_code)
