"""`deployq recommend`: the smallest quant per target that is not worse than full precision."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from deployq import report
from deployq.cli.completing import model_names
from deployq.cli.shared import (
    ci_options,
    json_option,
    quants_option,
    require_one_form,
    runtime_option,
    session_of,
    show_json,
    targets_option,
)
from deployq.errors import DoesNotFit, VerificationFailed
from deployq.pipeline.checks import suite_at
from deployq.pipeline.prepare import prepare
from deployq.pipeline.quality import How
from deployq.pipeline.quality_runs import keep_recommendations
from deployq.pipeline.recommend import Margins, recommend, subject_of
from deployq.pipeline.resolve import Overrides
from deployq.pipeline.runs import load_run
from deployq.plan.quants import parse_quants
from deployq.proof.judging import CHECKS_MARGIN


@click.command()
@click.argument("model", shell_complete=model_names)
@targets_option
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
    "--exhaustive",
    is_flag=True,
    help="Judge every quant that fits, not only those near the border.",
)
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Prompts asked at a time."
)
@ci_options
@runtime_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    targets: tuple[str, ...],
    quants: tuple[str, ...],
    suite: Path | None,
    margin: float,
    exhaustive: bool,
    jobs: int,
    **given: Any,
) -> None:
    """Find the smallest quant of MODEL per target that is not worse than full precision.

    Every type that fits is considered; bisection comes near the border, and what is smaller than
    the choice is judged until two in a row don't hold. Nothing is promoted. Exit code 3 if nothing
    fits a target, 4 if nothing that fits holds.

    \b
    Examples:
      deployq recommend task-api --targets laptop,4090
      deployq recommend task-api --suite suite-full.jsonl --margin 0.03
    """
    require_one_form(given["as_json"], given["as_markdown"])
    asked = parse_quants(",".join(quants)) if quants else ()
    with session_of(ctx, runtime__name=given["runtime"]) as session:
        prepared = prepare(session, model, targets, Overrides(quants=asked))
        subject = subject_of(session, prepared, suite_at(session, suite) if suite else None)
        started, clock = datetime.now(UTC), time.monotonic()
        margins = Margins(margin, How(jobs=jobs), exhaustive)
        found = recommend(session, prepared, subject, margins, named=bool(asked))
        document = report.recommendations_document(
            prepared.model.name,
            found,
            plan=prepared.plan,
            started=started.isoformat(timespec="seconds"),
            seconds=time.monotonic() - clock,
        )
        kept = keep_recommendations(session, document)
        session.talk(f"kept in {kept}")
    if given["junit"]:
        report.write_text(given["junit"], report.run_junit(load_run(kept)))
    if given["as_json"]:
        show_json(document)
    else:
        for one in found:
            if given["as_markdown"]:
                click.echo(report.recommendation_markdown(one))
            else:
                report.show(report.recommendation_view(one))
    if bad := next((one for one in found if one.chosen is None), None):
        ctx.exit(VerificationFailed.exit_code if bad.considered else DoesNotFit.exit_code)
