"""`deployq verify`: a suite of prompts against tags."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from deployq import report
from deployq.cli.shared import host_option, json_option, runtime_option, session_of, show_json
from deployq.errors import VerificationFailed
from deployq.pipeline.checks import suite_at
from deployq.pipeline.inventory import resolve_tags, suite_for, verify_tag
from deployq.pipeline.servers import site_of


@click.command()
@click.argument("tags", nargs=-1, required=True, metavar="TAG...")
@click.option(
    "--suite",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The prompts (TOML or JSONL); default: the suite of the tag's model.",
)
@click.option("--threshold", type=click.FloatRange(0, 1), help="Share of prompts that must pass.")
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Prompts asked at a time."
)
@host_option
@runtime_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    tags: tuple[str, ...],
    suite: Path | None,
    threshold: float | None,
    jobs: int,
    host: str | None,
    runtime: str | None,
    as_json: bool,
) -> None:
    """Run a suite of prompts against each TAG; exit code 4 if one does not pass.

    A model's name alone means all the tags that deployq made of it.

    \b
    Examples:
      deployq verify task-api
      deployq verify task-api:q4_k_m --suite suite-full.jsonl --threshold 0.95
    """
    results = []
    with session_of(ctx, runtime__name=runtime) as session, site_of(session, host) as site:
        for tag in resolve_tags(session, site, tags):
            asked = suite_at(session, suite) if suite else suite_for(session, tag)
            if threshold is not None:
                asked = dataclasses.replace(asked, threshold=threshold)
            results.append(verify_tag(session, site, tag, asked, jobs=jobs))
    if as_json:
        show_json(report.verifications_document(results))
    else:
        for result in results:
            report.show(report.verification_view(result))
    if not all(result.ok for result in results):
        ctx.exit(VerificationFailed.exit_code)
