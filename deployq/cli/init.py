"""`deployq init`: a first deployq.toml for what is in this folder."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from deployq import report
from deployq.cli.shared import can_ask, session_of
from deployq.config import CONFIG_NAME
from deployq.errors import ConfigError
from deployq.pipeline.init import Answers, Scene, choose_presets, config_text, look
from deployq.setting_values import nearest
from deployq.types import Goal


@click.command()
@click.argument(
    "folder", type=click.Path(path_type=Path, exists=True, file_okay=False), default=Path()
)
@click.option("-y", "--yes", is_flag=True, help="Ask nothing; take what was found.")
@click.option("--force", is_flag=True, help="Replace a deployq.toml that is there.")
@click.pass_context
def command(ctx: click.Context, folder: Path, yes: bool, force: bool) -> None:
    """Write a commented deployq.toml for what is in FOLDER (default: here).

    Looks for models and suites in it, and at this machine's memory. On a terminal it asks up to
    four questions; elsewhere, with CI set, or with -y, none.

    \b
    Examples:
      deployq init
      deployq init -y
    """
    file = folder / CONFIG_NAME
    if file.exists() and not force:
        raise ConfigError(f"{file} is there already", hint="deployq init --force replaces it")
    with session_of(ctx, quiet=True) as session:
        scene = look(session, folder)
    _tell(scene)
    answers = _ask(scene) if can_ask() and not yes else _taken(scene)
    report.write_text(file, config_text(scene, answers))
    click.echo(f"wrote {file}", err=True)
    name = answers.model.name if answers.model else "PATH"
    click.echo(f"next: deployq plan {name}", err=True)


def _tell(scene: Scene) -> None:
    """What was found, on stderr."""
    for model in scene.models:
        mark = "-" if model.problem else "✓"
        shown = f"{mark} {report.plain(str(model.path))}: {model.detail}"
        click.echo(shown + (f" ({report.plain(model.problem)})" if model.problem else ""), err=True)
    if not scene.models:
        click.echo("- no model here: write its path into the file", err=True)
    for suite in scene.suites:
        click.echo(f"✓ {report.plain(str(suite))}: a suite", err=True)


def _taken(scene: Scene) -> Answers:
    """The first of everything."""
    return Answers(
        model=next(iter(scene.usable), None),
        suite=next(iter(scene.suites), None),
    )


def _ask(scene: Scene) -> Answers:
    """At most four questions; only those that have more than one answer."""
    taken = _taken(scene)
    model, suite = taken.model, taken.suite
    if len(scene.usable) > 1:
        names = [one.name for one in scene.usable]
        name = click.prompt("Which model?", type=click.Choice(names), default=names[0], err=True)
        model = next(one for one in scene.usable if one.name == name)
    if len(scene.suites) > 1:
        paths = [str(path) for path in scene.suites]
        suite = Path(
            click.prompt("Which suite?", type=click.Choice(paths), default=paths[0], err=True)
        )
    goal: Goal = click.prompt(
        "What counts?", type=click.Choice(get_args(Goal)), default="balanced", err=True
    )
    return Answers(model, suite, goal, _ask_presets(scene))


def _ask_presets(scene: Scene) -> tuple[str, ...]:
    while True:
        text = click.prompt(
            "Other machines, such as 4090,m2-16gb (none: Enter)",
            default="",
            show_default=False,
            err=True,
        )
        presets, unknown = choose_presets(text.split(","), scene.presets)
        if not unknown:
            return presets
        click.echo(f"no machine is known as {unknown[0]!r}{nearest(unknown[0], scene.presets)}",
                   err=True)  # fmt: skip
