"""`deployq quality`: several quants of a model against its own full precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from deployq import report
from deployq.cli.completing import model_names
from deployq.cli.server import on_server, server_options
from deployq.cli.shared import ci_options, quants_option, require_one_form, show_json
from deployq.errors import VerificationFailed
from deployq.pipeline.checks import suite_at
from deployq.pipeline.prepare import prepare
from deployq.pipeline.quality import How
from deployq.pipeline.quality_runs import keep_quality
from deployq.pipeline.recommend import Margins, quality_of, subject_of
from deployq.pipeline.resolve import Overrides
from deployq.plan.quants import parse_quants
from deployq.proof.judging import CHECKS_MARGIN

DEFAULT_QUANTS = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")


@click.command()
@click.argument("model", shell_complete=model_names)
@quants_option
@click.option(
    "--suite",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The prompts (TOML or JSONL); default: the model's own suite.",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 1, min_open=True),
    default=CHECKS_MARGIN,
    show_default=True,
    help="The loss in passed prompts that counts as none.",
)
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Prompts asked at a time."
)
@ci_options
@server_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    quants: tuple[str, ...],
    suite: Path | None,
    margin: float,
    jobs: int,
    **given: Any,
) -> None:
    """Judge quants of MODEL against its full precision, on the server where they will run.

    Checks, agreement token by token, and perplexity of the full-precision answers, with
    intervals. Exit code 4 if a quant does not hold. What was measured before is not done again.

    \b
    Examples:
      deployq quality task-api --quants Q8_0,Q4_K_M
      deployq quality task-api --suite suite-full.jsonl --markdown
    """
    require_one_form(given["as_json"], given["as_markdown"])
    asked = parse_quants(",".join(quants or DEFAULT_QUANTS))
    with on_server(ctx, given["host"], given["runtime"]) as (session, site):
        prepared = prepare(session, model, (), Overrides(quants=asked))
        subject = subject_of(session, prepared, suite_at(session, suite) if suite else None)
        margins = Margins(margin, How(jobs=jobs))
        judged = replace(quality_of(session, site, subject, asked, margins), plan=prepared.plan)
        folder = keep_quality(session, judged)
        session.talk(f"kept in {folder}")
    if given["junit"]:
        report.write_text(given["junit"], report.quality_junit(judged))
    if given["as_json"]:
        show_json(report.quality_document(judged))
    elif given["as_markdown"]:
        click.echo(report.quality_markdown(judged), nl=False)
    else:
        report.show(report.quality_view(judged))
    if not all(one.holds for one in judged.evidence):
        ctx.exit(VerificationFailed.exit_code)
