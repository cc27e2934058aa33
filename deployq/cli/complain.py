"""How an error is told: what happened, and the command that mends it."""

from __future__ import annotations

import click


def complain(message: str, hint: str = "") -> None:
    """An error and what mends it, on stderr."""
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(message, err=True)
    if hint:
        click.secho("  try: ", fg="cyan", nl=False, err=True)
        click.echo(hint, err=True)
