"""`deployq plan`: which quant fits which target, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from deployq import plan as planning
from deployq import report
from deployq.cli.completing import model_names
from deployq.cli.shared import (
    imatrix_option,
    json_option,
    parallel_option,
    quants_option,
    session_of,
    show_json,
    source_options,
    targets_option,
)
from deployq.errors import ConfigError
from deployq.pipeline.prepare import Prepared, prepare
from deployq.pipeline.resolve import Overrides
from deployq.plan.memory import parse_cache_type
from deployq.plan.quants import parse_quant, parse_quants
from deployq.records import dataclass
from deployq.types import Goal, MemoryKind
from deployq.units import parse_bytes

if TYPE_CHECKING:
    from deployq.types import Explanation, Plan, TogetherPlan


@dataclass(frozen=True)
class Shown:
    """How a plan is shown."""

    as_json: bool = False
    markdown: bool = False
    explain: str = ""
    chart: Path | None = None


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, shell_complete=model_names)
@source_options
@targets_option
@quants_option
@imatrix_option
@click.option("--memory", metavar="SIZE", help="A machine with this memory, e.g. 24GB.")
@click.option("--kind", type=click.Choice(get_args(MemoryKind)), help="Of that memory.")
@click.option("--context", "n_ctx", type=click.IntRange(1), help="Context in tokens.")
@click.option("--cache-type", metavar="TYPE", help="Type of the KV cache: f16, q8_0, q8_0/f16.")
@parallel_option
@click.option("--goal", type=click.Choice(get_args(Goal)), help="How to choose.")
@click.option("--together", is_flag=True, help="Keep all MODELs loaded: they share the memory.")
@click.option("--explain", "explained", metavar="QUANT", help="Show its arithmetic line by line.")
@click.option("--judge", is_flag=True, help="Ask llama.cpp's own tools too, and show both.")
@click.option("--markdown", is_flag=True, help="Print Markdown.")
@click.option(
    "--chart",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the plan into this SVG file too.",
)
@click.option("--allow-requantize", is_flag=True, help="Take a source that is quantized already.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    models: tuple[str, ...],
    targets: tuple[str, ...],
    together: bool,
    judge: bool,
    allow_requantize: bool,
    **given: Any,
) -> None:
    """Show which quant of MODEL fits which target, and why. Nothing is built.

    MODEL is a name from deployq.toml, a full-precision GGUF, the folder that a training left, or
    hf:ORG/NAME. Exit code 3 if nothing fits a target.

    \b
    Examples:
      deployq plan task-api --targets laptop,4090 --json
      deployq plan model-f16.gguf --memory 24GB --kind vram --context 8192
      deployq plan model-f16.gguf --targets 3060 --explain Q4_K_M
      deployq plan chat.gguf coder.gguf --together --targets m2-16gb
    """
    overrides, shown = _overrides(given), _shown(given)
    _check(models, shown, together=together)
    with session_of(ctx) as session:
        prepared = [
            prepare(
                session,
                model,
                targets,
                overrides,
                allow_requantize=allow_requantize,
                judge="all" if judge else "nothing",
                reach="outline",
            )
            for model in models
        ]
    if together:
        shared = planning.plan_together([one.plan for one in prepared])
        _show_together(prepared, shared, shown.as_json)
        ctx.exit(3 if any(plan.verdict == "no" for plan in shared) else 0)
    _show(prepared, shown)
    if any(target.chosen is None for one in prepared for target in one.plan.targets):
        ctx.exit(3)


def _overrides(given: Mapping[str, Any]) -> Overrides:
    """What the options say of every target."""
    memory, quants = given["memory"], ",".join(given["quants"])
    return Overrides(
        quants=parse_quants(quants) if quants else (),
        goal=given["goal"],
        n_ctx=given["n_ctx"],
        cache_type=_cache_type(given["cache_type"]),
        parallel=given["parallel"],
        memory_bytes=parse_bytes(memory) if memory else None,
        kind=given["kind"],
        imatrix=given["imatrix"],
        base=Path(given["base"]).expanduser() if given["base"] else None,
        allow=given["allow"],
    )


def _shown(given: Mapping[str, Any]) -> Shown:
    explained = given["explained"]
    return Shown(
        as_json=given["as_json"],
        markdown=given["markdown"],
        explain=parse_quant(explained) if explained else "",
        chart=given["chart"],
    )


def _cache_type(text: str | None) -> str | None:
    """The type in the settings' own spelling: "q8_0", or "q8_0/f16"."""
    if text is None:
        return None
    return "/".join(dict.fromkeys(kind.lower() for kind in parse_cache_type(text)))


def _check(models: Sequence[str], shown: Shown, *, together: bool) -> None:
    """Options that can't go together.

    Raises:
        ConfigError: they were given together all the same.
    """
    others = [name for name, given in (("--explain", shown.explain), ("--markdown", shown.markdown),
                                       ("--chart", shown.chart)) if given]  # fmt: skip
    if together and len(models) < 2:
        raise ConfigError(
            "--together needs more than one model", hint="deployq plan A B --together"
        )
    if together and others:
        raise ConfigError(f"--together and {others[0]} don't go together")
    if shown.chart and len(models) > 1:
        raise ConfigError("--chart draws one model", hint="name one MODEL at a time")
    if shown.markdown and (shown.as_json or shown.explain):
        raise ConfigError(f"--markdown and {'--json' if shown.as_json else '--explain'} don't go "
                          "together")  # fmt: skip


def _show(prepared: Sequence[Prepared], shown: Shown) -> None:
    if shown.chart:
        report.write_text(shown.chart, report.plan_chart(prepared[0].plan))
    if shown.explain:
        _show_explained(prepared, shown)
    elif shown.markdown:
        click.echo("\n".join(report.plan_markdown(one.plan) for one in prepared), nl=False)
    elif shown.as_json and len(prepared) > 1:
        show_json(report.plans_document(one.plan for one in prepared))
    else:
        for number, one in enumerate(prepared):
            if number:
                click.echo()
            show_plan(one.plan, shown.as_json)


def _show_explained(prepared: Sequence[Prepared], shown: Shown) -> None:
    explanations: list[Explanation] = [
        planning.explain(one.plan, target, shown.explain)
        for one in prepared
        for target in one.plan.targets
    ]
    if shown.as_json:
        show_json(report.explanation_document(explanations))
        return
    for number, explanation in enumerate(explanations):
        if number:
            report.show("")
        report.show(report.explain_view(explanation))


def _show_together(
    prepared: Sequence[Prepared], shared: Sequence[TogetherPlan], as_json: bool
) -> None:
    plans = [one.plan for one in prepared]
    if as_json:
        show_json(report.plans_document(plans, shared))
        return
    warnings = [f"{plan.model}: {warning}" for plan in plans for warning in plan.warnings]
    report.draw(report.together_view(shared, warnings))


def show_plan(plan: Plan, as_json: bool) -> None:
    """A plan on stdout."""
    if as_json:
        show_json(report.plan_document(plan))
        return
    draw_plan(plan)


def draw_plan(plan: Plan, *, err: bool = False) -> None:
    """A plan for people, on stdout or stderr."""
    report.draw(report.plan_view(plan), err=err)
    if plan.judged:
        show = report.stderr().print if err else report.show
        show(report.judged_view(plan.judged))
    report.draw(report.remarks_view(plan), err=err)
