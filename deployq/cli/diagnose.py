"""`deployq diagnose`: whose fault is it that a tag does not answer as it should."""

from __future__ import annotations

from pathlib import Path

import click

from deployq import report
from deployq.cli.completing import tag_names
from deployq.cli.server import on_server, server_options
from deployq.cli.shared import show_json
from deployq.errors import ConfigError, VerificationFailed
from deployq.pipeline.checks import suite_at
from deployq.pipeline.diagnosis import MOST_PROMPTS, Asked, diagnose
from deployq.pipeline.inventory import resolve_tags, suite_for


@click.command()
@click.argument("tag", metavar="TAG", shell_complete=tag_names)
@click.option(
    "--source",
    metavar="MODEL",
    help="What the tag was made from; default: the tag's model in deployq.toml.",
)
@click.option(
    "--suite",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The prompts (TOML or JSONL); default: the suite of the tag's model.",
)
@click.option(
    "--trained",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The Hugging Face folder that the GGUF was converted from: ask it, too, and compare.",
)
@click.option(
    "--most",
    type=click.IntRange(1),
    default=MOST_PROMPTS,
    show_default=True,
    help="How many of the prompts that fail to ask again.",
)
@server_options
@click.pass_context
def command(
    ctx: click.Context,
    tag: str,
    source: str | None,
    suite: Path | None,
    trained: Path | None,
    most: int,
    host: str | None,
    runtime: str | None,
    as_json: bool,
) -> None:
    """Tell why prompts fail at TAG: quantization, conversion, template, or the model itself?

    What fails is asked again with one suspect less each time: context enough, the model's own
    template, its end mark, plain parameters, full precision, llama.cpp directly, the trained model
    itself under transformers. No tag of yours is changed. Exit code 4 if something is wrong.

    \b
    Examples:
      deployq diagnose task-api:q4_k_m
      deployq diagnose task-api:laptop --suite suite-full.jsonl --json
    """
    with on_server(ctx, host, runtime) as (session, site):
        (name, *others) = resolve_tags(session, site, [tag])
        if others:
            raise ConfigError(
                f"{tag} means {len(others) + 1} tags; one is diagnosed at a time",
                hint=f"deployq diagnose {name}",
            )
        asked = suite_at(session, suite) if suite else suite_for(session, name)
        found = diagnose(session, site, name, Asked(asked, source, trained, most))
    if as_json:
        show_json(report.diagnosis_document(found))
    else:
        report.show(report.diagnosis_view(found))
    if found.ruling.cause != "nothing wrong":
        ctx.exit(VerificationFailed.exit_code)
