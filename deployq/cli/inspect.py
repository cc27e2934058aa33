"""`deployq inspect`: what a model is, by its header alone."""

from __future__ import annotations

import click

from deployq import report
from deployq.cli.shared import json_option, session_of, show_json
from deployq.pipeline.prepare import current_info
from deployq.pipeline.resolve import resolve_model
from deployq.plan.explain import tensor_groups
from deployq.plan.memory import upper_bound_reason


@click.command()
@click.argument("model")
@json_option
@click.pass_context
def command(ctx: click.Context, model: str, as_json: bool) -> None:
    """Show what MODEL is: architecture, tokenizer, chat template, types of its tensors.

    MODEL is a name from deployq.toml or a path. Only headers are read.

    \b
    Examples:
      deployq inspect model-f16.gguf
      deployq inspect task-api --json
    """
    with session_of(ctx, quiet=True) as session:
        info = current_info(session, resolve_model(session.config, model))
    groups = tensor_groups(info, [tensor.type for tensor in info.tensors])
    unknown = upper_bound_reason(info)
    if as_json:
        show_json(report.inspect_document(info, groups, unknown))
    else:
        report.show(report.inspect_view(info, groups, unknown))
