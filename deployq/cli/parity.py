"""`deployq parity`: does a tag render what the model's own chat template does."""

from __future__ import annotations

import click

from deployq import report
from deployq.cli.completing import tag_names
from deployq.cli.server import on_server, server_options
from deployq.cli.shared import show_json
from deployq.errors import SourceError, VerificationFailed
from deployq.pipeline.inventory import resolve_tags
from deployq.pipeline.parity import check_parity, model_of_tag
from deployq.tags.chat_template import chat_template_of
from deployq.tags.go_template import derive
from deployq.types import ModelInfo


@click.command()
@click.argument("tags", nargs=-1, required=True, metavar="TAG...", shell_complete=tag_names)
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
@server_options
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
    with on_server(ctx, host, runtime) as (session, site):
        for tag in resolve_tags(session, site, tags):
            info = model_of_tag(session, site, tag, source)
            if go_template:
                click.echo(_go_template(info))
            else:
                reports.append(check_parity(session, site, tag, info))
    if go_template:
        return
    if as_json:
        show_json(report.parity_document(reports))
    else:
        for one in reports:
            report.show(report.parity_view(one))
    if not all(one.ok for one in reports):
        ctx.exit(VerificationFailed.exit_code)


def _go_template(info: ModelInfo) -> str:
    template = chat_template_of(info)
    derived = derive(template) if template else None
    if derived is None or not derived.text:
        why = derived.why if derived else "it has none"
        raise SourceError(f"{info.path}: no Go TEMPLATE can be made from its chat template: {why}")
    return derived.text
