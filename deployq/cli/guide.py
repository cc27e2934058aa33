"""`deployq guide`: the quantization lesson's tables, worked out by the planner."""

from __future__ import annotations

import click

from deployq import report
from deployq.cli.shared import json_option, show_json
from deployq.plan.guide import guide


@click.command()
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown tables.")
@json_option
def command(as_markdown: bool, as_json: bool) -> None:
    """Show which size of model fits which machine, by rule of thumb and by calculation.

    Each line has what the quantization lesson says, and what the planner says of a model of that
    size: 7B and 13B are Llama 2, 34B CodeLlama, 70B Llama 2, 405B Llama 3.1. For a model of your
    own: deployq plan.

    \b
    Examples:
      deployq guide
      deployq guide --markdown > tables.md
    """
    worked_out = guide()
    if as_json:
        show_json(report.guide_document(worked_out))
    elif as_markdown:
        click.echo(report.guide_markdown(worked_out))
    else:
        report.show(report.guide_view(worked_out))
