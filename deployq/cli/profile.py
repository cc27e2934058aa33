"""`deployq profile`: what this machine has, how fast it is, and which machines are known."""

from __future__ import annotations

from pathlib import Path

import click

from deployq import report
from deployq.cli.shared import json_option, session_of, show_json
from deployq.errors import ConfigError
from deployq.pipeline.machine import main_hardware, measure, stored_bandwidth
from deployq.pipeline.session import Session
from deployq.plan.budgets import reserve_of


@click.command()
@click.argument("words", nargs=-1, metavar="[WORD]...")
@click.option("--presets", "list_presets", is_flag=True, help="List the machines known by name.")
@click.option("--measure", "do_measure", is_flag=True, help="Measure how fast it reads its memory.")
@click.option(
    "--with",
    "model",
    type=click.Path(path_type=Path),
    metavar="GGUF",
    help="Measure with this model, by llama-bench.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    words: tuple[str, ...],
    list_presets: bool,
    do_measure: bool,
    model: Path | None,
    as_json: bool,
) -> None:
    """Show what memory this machine has for a model, and which machines are known by name.

    With --presets, only those whose name holds every WORD. --measure takes a few seconds, and
    with a model as long as llama-bench takes; plans for this machine estimate tokens/s by it.

    \b
    Examples:
      deployq profile
      deployq profile --presets m2 pro
      deployq profile --measure --with model-q4_k_m.gguf
    """
    _check(words, list_presets, do_measure, model)
    with session_of(ctx) as session:
        if list_presets:
            _show_presets(_presets(session, words), as_json)
            return
        measured = measure(session, model) if do_measure else stored_bandwidth(session)
        found = _found(session)
    known = (measured.kind, measured.bandwidth) if measured else None
    if as_json:
        show_json(report.machine_document(found, known))
    else:
        report.show(report.machine_view(found, known))


def _show_presets(presets: list[report.Preset], as_json: bool) -> None:
    if as_json:
        show_json(report.presets_document(presets))
    else:
        report.show(report.presets_view(presets))


def _check(words: tuple[str, ...], presets: bool, do_measure: bool, model: Path | None) -> None:
    if words and not presets:
        raise click.UsageError(f"unexpected {words[0]!r}; to look for a machine: --presets")
    if presets and do_measure:
        raise click.UsageError("--presets and --measure are two different questions")
    if model is not None and not do_measure:
        raise click.UsageError("--with belongs to --measure")


def _found(session: Session) -> list[report.Found]:
    detected = {
        name: hardware
        for name, profiler in session.profilers().items()
        if (hardware := profiler.detect())
    }
    main = main_hardware(list(detected.values()))
    return [
        report.Found(name, hardware, reserve_of(hardware), hardware is main)
        for name, hardware in detected.items()
    ]


def _presets(session: Session, words: tuple[str, ...]) -> list[report.Preset]:
    """The presets whose names hold every word.

    Raises:
        ConfigError: there is none.
    """
    found = [
        report.Preset(name, aliases, profiler, hardware, reserve_of(hardware))
        for profiler, owner in session.profilers().items()
        for name, aliases, hardware in report.grouped(owner.presets())
        if all(_has(word, (name, *aliases, hardware.name)) for word in words)
    ]
    if not found:
        raise ConfigError(
            f"no machine is known as {' '.join(words)!r}",
            hint="deployq profile --presets lists all; memory and kind can be given instead: "
            "deployq plan MODEL --memory 24GB --kind vram",
        )
    return found


def _has(word: str, names: tuple[str, ...]) -> bool:
    return any(word.lower() in name.lower() for name in names)
