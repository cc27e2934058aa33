"""`deployq inspect`: what a model is, by its header alone."""

from __future__ import annotations

from pathlib import Path

import click

from deployq import report
from deployq.cli.completing import model_names
from deployq.cli.shared import json_option, session_of, show_json, source_options
from deployq.pipeline.prepare import current_info
from deployq.pipeline.resolve import Overrides, resolve_model, with_overrides
from deployq.plan.explain import tensor_groups
from deployq.plan.memory import upper_bound_reason


@click.command()
@click.argument("model", shell_complete=model_names)
@source_options
@json_option
@click.pass_context
def command(
    ctx: click.Context, model: str, base: str | None, allow: tuple[str, ...], as_json: bool
) -> None:
    """Show what MODEL is: architecture, tokenizer, chat template, types of its tensors.

    MODEL is a name from deployq.toml, a path, or the folder that a training left: then it says
    which of the things in it was chosen, and what is odd about it. Only headers are read.

    \b
    Examples:
      deployq inspect model-f16.gguf
      deployq inspect outputs/ --base path/of/base
      deployq inspect task-api --json
    """
    with session_of(ctx, quiet=True) as session:
        overrides = Overrides(base=Path(base).expanduser() if base else None, allow=allow)
        named = with_overrides(resolve_model(session.config, model), overrides)
        info = current_info(session, named, "outline")
    groups = tensor_groups(info, [tensor.type for tensor in info.tensors])
    unknown = upper_bound_reason(info)
    if as_json:
        show_json(report.inspect_document(info, groups, unknown))
    else:
        report.show(report.inspect_view(info, groups, unknown))
