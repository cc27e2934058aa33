"""`deployq baseline`: the full-precision answers that tags are judged against."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from deployq.cli.completing import model_names
from deployq.cli.shared import runtime_option, session_of
from deployq.errors import ConfigError
from deployq.pipeline.baselines import baseline_for
from deployq.pipeline.checks import suite_at
from deployq.pipeline.prepare import prepare
from deployq.pipeline.recommend import subject_of
from deployq.pipeline.resolve import Overrides
from deployq.pipeline.servers import site_of
from deployq.proof.baseline import BaselineStore


@click.command()
@click.argument("model", shell_complete=model_names)
@click.option(
    "--suite",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The prompts (TOML or JSONL); default: the model's own suite.",
)
@click.option(
    "--export",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it to a file, for a machine that can't hold full precision.",
)
@click.option(
    "--import",
    "source",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Take one that another machine recorded.",
)
@click.option("--host", metavar="URL", help="This Ollama server instead of the default one.")
@runtime_option
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    suite: Path | None,
    target: Path | None,
    source: Path | None,
    host: str | None,
    runtime: str | None,
) -> None:
    """Record the full-precision answers of MODEL to its suite, or carry them to another machine.

    \b
    Examples:
      deployq baseline task-api --export task-api.baseline.gz
      deployq baseline task-api --import task-api.baseline.gz
    """
    with session_of(ctx, runtime__name=runtime) as session:
        prepared = prepare(session, model, (), Overrides())
        subject = subject_of(session, prepared, suite_at(session, suite) if suite else None)
        store = BaselineStore(session.cache_dir)
        if source is not None:
            baseline = store.take(source)
            if baseline.key.model_digest != subject.source_digest:
                raise ConfigError(
                    f"{source} is a baseline of another model than {model}",
                    hint="give the source file that it was recorded from",
                )
        else:
            with site_of(session, host) as site:
                baseline = baseline_for(session, site, subject).baseline
    if target is not None:
        shutil.copyfile(store.path_of(baseline), target)
    tokens = sum(len(answer.steps) for answer in baseline.answers)
    click.echo(
        f"{baseline.digest[:12]}  {baseline.key.quant}  {len(baseline.answers)} prompts  "
        f"{tokens} tokens  {baseline.key.engine} {baseline.key.server}  {baseline.recorded}"
    )
