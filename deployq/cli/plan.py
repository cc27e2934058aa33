"""`deployq plan`: which quant fits which target, and why."""

from __future__ import annotations

from typing import get_args

import click

from deployq.cli.shared import (
    json_option,
    quants_option,
    session_of,
    show,
    show_json,
    targets_option,
)
from deployq.pipeline.prepare import prepare
from deployq.pipeline.resolve import Overrides
from deployq.plan.quants import parse_quants
from deployq.report.documents import plan_document
from deployq.report.plan_view import plan_view
from deployq.types import Goal, MemoryKind, Plan
from deployq.units import parse_bytes


@click.command()
@click.argument("model")
@targets_option
@quants_option
@click.option("--memory", metavar="SIZE", help="A machine with this memory, e.g. 24GB.")
@click.option("--kind", type=click.Choice(get_args(MemoryKind)), help="Of that memory.")
@click.option("--context", "n_ctx", type=click.IntRange(1), help="Context in tokens.")
@click.option("--cache-type", metavar="TYPE", help="Type of the KV cache: f16, q8_0, q8_0/f16.")
@click.option("--goal", type=click.Choice(get_args(Goal)), help="How to choose.")
@click.option("--allow-requantize", is_flag=True, help="Take a source that is quantized already.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    targets: tuple[str, ...],
    quants: tuple[str, ...],
    memory: str | None,
    kind: MemoryKind | None,
    n_ctx: int | None,
    cache_type: str | None,
    goal: Goal | None,
    allow_requantize: bool,
    as_json: bool,
) -> None:
    """Show which quant of MODEL fits which target, and why. Nothing is built.

    MODEL is a name from deployq.toml or the path of a full-precision GGUF. Exit code 3 if nothing
    fits a target.

    \b
    Examples:
      deployq plan task-api
      deployq plan task-api --targets laptop,4090 --json
      deployq plan model-f16.gguf --memory 24GB --kind vram --context 8192
    """
    overrides = Overrides(
        quants=parse_quants(",".join(quants)) if quants else (),
        goal=goal,
        n_ctx=n_ctx,
        cache_type=cache_type,
        memory_bytes=parse_bytes(memory) if memory else None,
        kind=kind,
    )
    with session_of(ctx) as session:
        prepared = prepare(session, model, targets, overrides, allow_requantize=allow_requantize)
    show_plan(prepared.plan, as_json)
    if any(target.chosen is None for target in prepared.plan.targets):
        ctx.exit(3)


def show_plan(plan: Plan, as_json: bool) -> None:
    """A plan on stdout."""
    if as_json:
        show_json(plan_document(plan))
    else:
        show(plan_view(plan))
