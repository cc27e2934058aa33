"""`deployq parity`: does a tag render what the model's own chat template does."""

from __future__ import annotations

import click

from deployq.cli.shared import (
    host_option,
    json_option,
    runtime_option,
    session_of,
    show,
    show_json,
)
from deployq.errors import SourceError, VerificationFailed
from deployq.pipeline.inventory import resolve_tags
from deployq.pipeline.parity import check_parity, model_of_tag
from deployq.pipeline.servers import site_of
from deployq.report.parity_view import parity_document, parity_view
from deployq.tags.chat_template import chat_template_of
from deployq.tags.go_template import derive
from deployq.types import ModelInfo


@click.command()
@click.argument("tags", nargs=-1, required=True, metavar="TAG...")
@click.option(
    "--source",
    metavar="MODEL",
    help="What the tags were made from; default: the tag's model in deployq.toml.",
)
@click.option(
    "--go-template",
    is_flag=True,
    help="Print a Go TEMPLATE made from the model's own template, and ask nothing of the tag.",
)
@host_option
@runtime_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    tags: tuple[str, ...],
    source: str | None,
    go_template: bool,
    host: str | None,
    runtime: str | None,
    as_json: bool,
) -> None:
    """Compare the prompts that each TAG renders with those of the model's own chat template.

    Exit code 4 if they differ, or if a prompt has a fault. The model is loaded; nothing is
    generated.

    \b
    Examples:
      deployq parity task-api
      deployq parity task-api:laptop --source task-api-f16.gguf --json
    """
    reports = []
    with session_of(ctx, runtime__name=runtime) as session, site_of(session, host) as site:
        for tag in resolve_tags(session, site, tags):
            info = model_of_tag(session, site, tag, source)
            if go_template:
                click.echo(_go_template(info))
            else:
                reports.append(check_parity(session, site, tag, info))
    if go_template:
        return
    if as_json:
        show_json(parity_document(reports))
    else:
        for report in reports:
            show(parity_view(report))
    if not all(report.ok for report in reports):
        ctx.exit(VerificationFailed.exit_code)


def _go_template(info: ModelInfo) -> str:
    template = chat_template_of(info)
    derived = derive(template) if template else None
    if derived is None or not derived.text:
        why = derived.why if derived else "it has none"
        raise SourceError(f"{info.path}: no Go TEMPLATE can be made from its chat template: {why}")
    return derived.text
