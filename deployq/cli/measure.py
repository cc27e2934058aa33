"""`deployq measure`: perplexity and KL divergence of quants on a text."""

from __future__ import annotations

from typing import Any

import click

from deployq import report
from deployq.cli.completing import model_names
from deployq.cli.shared import (
    imatrix_option,
    json_option,
    quants_option,
    session_of,
    show_json,
    targets_option,
)
from deployq.cli.textual import text_options, text_source
from deployq.errors import ConfigError
from deployq.pipeline.measure import PERPLEXITY, measure_text, quants_of
from deployq.pipeline.prepare import prepare
from deployq.pipeline.resolve import Overrides
from deployq.plan.quants import parse_quants
from deployq.types import TextOptions

DEFAULT_QUANTS = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")


@click.command()
@click.argument("model", shell_complete=model_names)
@targets_option
@quants_option
@imatrix_option
@text_options
@click.option("--context", "n_ctx", type=click.IntRange(8), help="Tokens in a chunk; default: 512.")
@click.option(
    "--chunks", type=click.IntRange(1), default=64, show_default=True, help="Chunks at most."
)
@click.option(
    "--meter",
    default=PERPLEXITY,
    show_default=True,
    metavar="NAME",
    help="What measures; deployq plugins lists the meters.",
)
@click.option("--markdown", is_flag=True, help="Print Markdown.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    targets: tuple[str, ...],
    quants: tuple[str, ...],
    n_ctx: int | None,
    chunks: int,
    meter: str,
    markdown: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Measure quants of MODEL on a text: perplexity, and KL divergence from full precision.

    Needs no server; quants that are missing are built. With --from-suite or --jsonl the text is
    made of your own conversations by the model's chat template; questions without an answer are
    answered by full precision first.

    \b
    Examples:
      deployq measure task-api --from-suite
      deployq measure task-api --text wiki.test.raw --quants Q8_0,Q4_K_M,Q2_K
      deployq measure model-f16.gguf --jsonl train.jsonl --chunks 32 --json
    """
    if markdown and as_json:
        raise ConfigError("--markdown and --json don't go together")
    asked = parse_quants(",".join(quants)) if quants else ()
    with session_of(ctx) as session:
        prepared = prepare(
            session, model, targets, Overrides(quants=asked, imatrix=given["imatrix"])
        )
        measured = measure_text(
            session,
            prepared,
            quants_of(prepared, asked, DEFAULT_QUANTS),
            text_source(given),
            TextOptions(n_ctx, chunks, session.config.tools.threads),
            meter,
        )
    if as_json:
        show_json(report.measure_document(measured))
    elif markdown:
        click.echo(report.measure_markdown(measured), nl=False)
    else:
        report.show(report.measure_view(measured))
