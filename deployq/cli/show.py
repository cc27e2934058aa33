"""`deployq show`: what a tag is made of."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from deployq import report
from deployq.cli.completing import tag_names
from deployq.cli.server import on_server, server_options
from deployq.cli.shared import show_json
from deployq.pipeline.inventory import TagDetail, tag_detail
from deployq.units import format_bytes


@click.command()
@click.argument("tag", shell_complete=tag_names)
@click.option("--modelfile", is_flag=True, help="Print the Modelfile alone.")
@server_options
@click.pass_context
def command(
    ctx: click.Context,
    tag: str,
    modelfile: bool,
    host: str | None,
    runtime: str | None,
    as_json: bool,
) -> None:
    """Show what TAG is made of: weights, parameters, and what deployq knows of it.

    \b
    Examples:
      deployq show task-api:q4_k_m
      deployq show task-api:laptop --modelfile
    """
    with on_server(ctx, host, runtime) as (session, site):
        detail = tag_detail(session, site, tag)
    if as_json:
        show_json({"schema": 1, **_document(detail)})
    elif modelfile:
        click.echo(detail.shown.modelfile.rstrip())
    else:
        report.show(_table(detail))


def _document(detail: TagDetail) -> dict[str, Any]:
    held, shown, entry = detail.held, detail.shown, detail.entry
    return {
        "tag": held.tag,
        "host": held.host,
        "quant": held.quant or None,
        "size_bytes": held.size_bytes,
        "manifest_digest": held.manifest_digest,
        "blob_digest": shown.blob_digest or None,
        "alias_of": held.alias_of,
        "parameters": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in shown.parameters.items()
        },
        "system": shown.system or None,
        "modelfile": shown.modelfile,
        "changed": held.changed,
        "lock": vars(entry) if entry else None,
    }


def _table(detail: TagDetail) -> Table:
    held, shown, entry = detail.held, detail.shown, detail.entry
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    rows = {
        "tag": held.tag + (f" → {held.alias_of}" if held.alias_of else ""),
        "server": held.host,
        "quant": held.quant,
        "size": format_bytes(held.size_bytes),
        "weights": f"sha256:{shown.blob_digest}" if shown.blob_digest else "",
        "parameters": ", ".join(f"{name} = {value}" for name, value in shown.parameters.items()),
        "system": shown.system,
        "capabilities": ", ".join(shown.capabilities),
        "license": shown.license.strip().split("\n")[0],
    }
    if entry:
        rows |= {
            "made by": f"{entry.backend} {entry.backend_version}, deployq {entry.deployq_version}",
            "pushed": entry.pushed_at + (" (changed since)" if held.changed else ""),
            "checks": f"{entry.passed} of {entry.total} passed",
            "source": f"sha256:{entry.source_digest}",
        }
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    return table
