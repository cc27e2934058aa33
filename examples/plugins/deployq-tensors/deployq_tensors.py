"""The command `deployq tensors MODEL`: the largest tensors of a model."""

from __future__ import annotations

from pathlib import Path

import click

import deployq


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--count", default=5, show_default=True, help="How many of them.")
def command(model: Path, count: int) -> None:
    """Show the largest tensors of a model; only its header is read.

    An error of deployq's own (here: SourceError, where it is no model) is shown as deployq shows
    its errors, and sets the exit code.
    """
    info = deployq.inspect(model)
    largest = sorted(info.tensors, key=lambda tensor: tensor.n_elements, reverse=True)
    for tensor in largest[:count]:
        click.echo(f"{tensor.n_elements:>12,}  {tensor.type:<6}  {tensor.name}")
