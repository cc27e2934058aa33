"""`deployq bench`: the table of a model's quants on this machine."""

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
from deployq.pipeline.benching import bench
from deployq.pipeline.measure import quants_of
from deployq.pipeline.prepare import Prepared, prepare
from deployq.pipeline.resolve import Overrides, default_context
from deployq.pipeline.texts import TextSource
from deployq.plan.quants import parse_quants
from deployq.types import BenchReport, SpeedOptions, TextOptions

DEFAULT_QUANTS = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0")
_FORMATS = click.Choice(("table", "markdown", "csv", "json"))


@click.command()
@click.argument("model", shell_complete=model_names)
@targets_option
@quants_option
@imatrix_option
@text_options
@click.option("--no-text", is_flag=True, help="Measure no perplexity.")
@click.option("--chunks", type=click.IntRange(1), default=64, help="Chunks of the text at most.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Runs each.")
@click.option(
    "--prompt-tokens", type=click.IntRange(1), default=512, show_default=True, help="Of a prompt."
)
@click.option(
    "--answer-tokens", type=click.IntRange(1), default=128, show_default=True, help="Of an answer."
)
@click.option("--context", "n_ctx", type=click.IntRange(1), help="Context that is loaded.")
@click.option("--threads", type=click.IntRange(1), help="Threads; default: as many as cores.")
@click.option("--format", "shown", type=_FORMATS, default="table", help="How it is printed.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    targets: tuple[str, ...],
    quants: tuple[str, ...],
    shown: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Show size, perplexity, load time, speed and memory of MODEL's quants on this machine.

    The quants take turns, so that whatever else the machine does falls on all alike. Perplexity
    is measured on the text that you name, else on the model's suite if it has one.

    \b
    Examples:
      deployq bench task-api
      deployq bench model-f16.gguf --text wiki.test.raw --quants Q8_0,Q4_K_M
      deployq bench task-api --no-text --repeats 3 --format csv
    """
    asked = parse_quants(",".join(quants)) if quants else ()
    with session_of(ctx) as session:
        prepared = prepare(
            session, model, targets, Overrides(quants=asked, imatrix=given["imatrix"])
        )
        threads = given["threads"]
        options = SpeedOptions(
            given["prompt_tokens"],
            given["answer_tokens"],
            given["n_ctx"] or default_context(prepared.model.settings, prepared.info.n_ctx_train),
            given["repeats"],
            threads,
        )
        made = bench(
            session,
            prepared,
            quants_of(prepared, asked, DEFAULT_QUANTS),
            _text(given, prepared),
            TextOptions(None, given["chunks"], threads),
            options,
        )
    _show(made, "json" if as_json else shown)


def _text(given: dict[str, Any], prepared: Prepared) -> TextSource | None:
    source = text_source(given)
    named = source.file or source.jsonl or source.from_suite
    if given["no_text"] and named:
        raise ConfigError("--no-text and a text don't go together")
    if named:
        return source
    if given["no_text"] or prepared.model.settings.suite is None:
        return None
    return TextSource(from_suite=True)


def _show(made: BenchReport, shown: str) -> None:
    if shown == "json":
        show_json(report.bench_document(made))
    elif shown == "markdown":
        click.echo(report.bench_markdown(made), nl=False)
    elif shown == "csv":
        click.echo(report.bench_csv(made), nl=False)
    else:
        report.show(report.bench_view(made))
