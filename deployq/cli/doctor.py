"""`deployq doctor`: what is here, what is missing, and the command that gets it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deployq import report
from deployq.cli.shared import json_option, session_of, show_json
from deployq.pipeline.doctor import Finding, able, examine


@click.command()
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check what is here and what is missing; exit code 1 if a push can't work.

    \b
    Examples:
      deployq doctor
      deployq doctor --json
    """
    with session_of(ctx, quiet=True) as session:
        findings = list(examine(session))
    if as_json:
        show_json({"schema": 1, "findings": [vars(finding) for finding in findings]})
    else:
        report.show(_view(findings))
    if not able(findings):
        ctx.exit(1)


def _view(findings: Iterable[Finding]) -> RenderableType:
    """A block per group, then what to do about what is missing."""
    every = list(findings)
    parts: list[RenderableType] = []
    for name, group in groupby(every, key=lambda finding: finding.group):
        parts += [Text(name, style="bold"), _table(group), ""]
    return Group(*parts, _outcome(every))


def _table(findings: Iterable[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(width=1)
    table.add_column(overflow="fold", ratio=2)
    table.add_column(overflow="fold", ratio=3)
    for finding in findings:
        mark = "✓" if finding.ok else "✗" if finding.needed else "-"
        hint = f"\ntry: {finding.hint}" if finding.hint and not finding.ok else ""
        table.add_row(mark, Text(finding.what), Text(finding.detail + hint))
    return table


def _outcome(findings: Iterable[Finding]) -> Text:
    missing = [f for f in findings if f.needed and not f.ok]
    if not missing:
        return Text("✓ a push can work here; what has a - is only needed for more", style="bold")
    names = ", ".join(finding.what for finding in missing)
    return Text(f"✗ a push can't work here yet; what is missing: {names}", style="bold")
