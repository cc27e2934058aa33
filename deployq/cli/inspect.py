"""`deployq inspect`: what a model is, by its header alone."""

from __future__ import annotations

import click

from deployq.cli.shared import json_option, session_of, show, show_json
from deployq.pipeline.prepare import current_info
from deployq.pipeline.resolve import resolve_model
from deployq.plan.explain import tensor_groups
from deployq.plan.memory import upper_bound_reason
from deployq.report.inspect_view import inspect_document, inspect_view


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
        show_json(inspect_document(info, groups, unknown))
    else:
        show(inspect_view(info, groups, unknown))
