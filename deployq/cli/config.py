"""`deployq config`: every value that counts, and where it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from deployq import report
from deployq.cli.shared import config_of, json_option, show_json
from deployq.config import Setting, settings


@click.command()
@json_option
@click.option("--all", "show_all", is_flag=True, help="Also those that nobody set.")
@click.pass_context
def command(ctx: click.Context, as_json: bool, show_all: bool) -> None:
    """Show the settings and where each came from: option, environment, file or default.

    \b
    Examples:
      deployq config
      deployq config --all --json
    """
    config = config_of(ctx)
    rows = [row for row in settings(config) if show_all or as_json or row.origin != "default"]
    if as_json:
        show_json(
            {
                "schema": 1,
                "file": str(config.file) if config.file else None,
                "settings": [
                    {"key": r.key, "value": _plain(r.value), "origin": r.origin} for r in rows
                ],
            }
        )
        return
    click.echo(f"configuration: {config.file or 'no deployq.toml here or above'}", err=True)
    if rows:
        report.show(_table(rows))
    if not show_all:
        click.echo("everything else is at its default: deployq config --all", err=True)


def _table(rows: list[Setting]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("key", "value", "from"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(row.key, _text(row.value), row.origin)
    return table


def _text(value: Any) -> str:
    """A value as people read it."""
    if value is None or value in ((), {}):
        return "-"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} = {item}" for key, item in value.items())
    return str(value)


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
