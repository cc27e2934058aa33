"""`deployq push`: the main job."""

from __future__ import annotations

from pathlib import Path

import click

from deployq import report
from deployq.cli.complain import complain
from deployq.cli.completing import model_names
from deployq.cli.plan import draw_plan, show_plan
from deployq.cli.shared import (
    can_ask,
    ci_options,
    imatrix_option,
    json_option,
    parallel_option,
    quants_option,
    require_one_form,
    runtime_option,
    session_of,
    show_json,
    source_options,
    targets_option,
)
from deployq.pipeline.jobs import Options
from deployq.pipeline.prepare import Prepared, prepare
from deployq.pipeline.push import next_commands, push
from deployq.pipeline.resolve import Overrides
from deployq.pipeline.session import Session
from deployq.plan.quants import parse_quants


@click.command()
@click.argument("model", shell_complete=model_names)
@source_options
@targets_option
@quants_option
@imatrix_option
@parallel_option
@click.option("--backend", metavar="NAME", help="What quantizes; default: any that can.")
@runtime_option
@click.option("--name", metavar="NAME", help="The model's name in tags, of a source by its path.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("--allow-requantize", is_flag=True, help="Take a source that is quantized already.")
@click.option("--locked", is_flag=True, help="Make exactly what deployq.lock says, or fail.")
@click.option(
    "--verify-weights",
    is_flag=True,
    help="Hash the weights of unchanged tags, too, where the server's files are on this machine.",
)
@click.option(
    "--require-fit", is_flag=True, help="Fail where a loaded tag takes more than planned."
)
@click.option(
    "--require-parity",
    is_flag=True,
    help="Fail where prompts differ from those of the model's own chat template.",
)
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Prompts asked at a time."
)
@click.option("-y", "--yes", is_flag=True, help="Don't ask, whatever the plan warns of.")
@ci_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    base: str | None,
    allow: tuple[str, ...],
    targets: tuple[str, ...],
    quants: tuple[str, ...],
    imatrix: str | None,
    parallel: int | None,
    backend: str | None,
    runtime: str | None,
    name: str | None,
    dry_run: bool,
    allow_requantize: bool,
    locked: bool,
    verify_weights: bool,
    require_fit: bool,
    require_parity: bool,
    jobs: int,
    yes: bool,
    as_json: bool,
    as_markdown: bool,
    junit: Path | None,
) -> None:
    """Plan, quantize, register and verify MODEL on its targets.

    MODEL is a name from deployq.toml, a full-precision GGUF, the folder that a training left
    (safetensors, checkpoints, a LoRA adapter), hf:ORG/NAME or ollama:TAG. A tag gets its name only
    after it passed its suite, and the tags of a target get theirs together; what fails
    leaves the earlier ones as they were. What is there already is not done again.

    \b
    Examples:
      deployq push task-api --targets laptop,4090
      deployq push model-f16.gguf --targets laptop --quants Q8_0,Q4_K_M
      deployq push outputs/ --targets laptop
      deployq push task-api --dry-run
    """
    require_one_form(as_json, as_markdown)
    overrides = Overrides(
        quants=parse_quants(",".join(quants)) if quants else (),
        imatrix=imatrix,
        parallel=parallel,
        base=Path(base).expanduser() if base else None,
        allow=allow,
        locked=locked,
        name=name,
    )
    with session_of(ctx, plugins__backend=backend, runtime__name=runtime) as session:
        prepared = prepare(
            session,
            model,
            targets,
            overrides,
            allow_requantize=allow_requantize,
            judge="nothing" if dry_run else "sizes",
            reach="outline" if dry_run else "download",
        )
        if dry_run:
            show_plan(prepared.plan, as_json)
            ctx.exit(3 if any(t.chosen is None for t in prepared.plan.targets) else 0)
        _announce(session, prepared, yes or as_json, ctx.obj["quiet"])
        tags = session.config.tags
        fit, parity = require_fit or tags.require_fit, require_parity or tags.require_parity
        options = Options(jobs, allow_requantize, locked, fit, parity, verify_weights)
        pushed = push(session, prepared, options)
    if junit:
        report.write_text(junit, report.push_junit(pushed))
    if as_json:
        show_json(report.report_document(pushed))
    elif as_markdown:
        click.echo(report.push_markdown(pushed), nl=False)
    else:
        report.show(report.push_summary(pushed, next_commands(session, pushed)))
    failed: dict[tuple[str, str], list[str]] = {}
    for target in pushed.targets:
        if target.exit_code:
            failed.setdefault((target.reason, target.hint), []).append(target.target)
    for (reason, hint), names in failed.items():
        complain(f"{', '.join(names)}: {reason}", hint)
    ctx.exit(pushed.exit_code)


def _announce(session: Session, prepared: Prepared, yes: bool, quiet: bool) -> None:
    """Show the plan on stderr; ask where it warns of something and somebody can answer."""
    if not quiet:
        draw_plan(prepared.plan, err=True)
    for target in prepared.plan.targets:
        if target.target.host is None:
            name = session.config.runtime.name
            session.talk(
                f"{target.target.name} has no host: it goes to the default server ({name})"
            )
    if prepared.plan.warnings and not yes and can_ask():
        click.confirm("Go on?", default=True, abort=True, err=True)
