"""What several verbs share: options, the session of a command, and where output goes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from deployq import report
from deployq.cli.completing import quant_names, runtime_names, target_names
from deployq.cli.streams import is_unicode
from deployq.config import Config, load_config, with_option
from deployq.errors import ConfigError
from deployq.pipeline.session import Session, open_session
from deployq.setting_values import CHECKS

F = TypeVar("F", bound=Callable[..., Any])


class CommaList(click.ParamType[tuple[str, ...]]):
    """`a,b,c` as a tuple; the option may also be given several times."""

    name = "A,B,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        parts = tuple(part.strip() for part in str(value).split(",") if part.strip())
        if not parts:
            self.fail("an empty list", param, ctx)
        return parts


def json_option(function: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(
        function
    )


def ci_options(function: F) -> F:
    """Add `--markdown` and `--junit`."""
    junit = click.option(
        "--junit",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Write JUnit XML, too, for a CI server.",
    )
    markdown = click.option(
        "--markdown", "as_markdown", is_flag=True, help="Print Markdown, fit for a step summary."
    )
    return markdown(junit(function))


def require_one_form(as_json: bool, as_markdown: bool) -> None:
    """Raises ConfigError where two forms of output are asked for."""
    if as_json and as_markdown:
        raise ConfigError("--markdown and --json don't go together", hint="leave one of them out")


def runtime_option(function: F) -> F:
    """Add `--runtime`."""
    return click.option(
        "--runtime",
        metavar="NAME",
        shell_complete=runtime_names,
        help="Where the default server comes from: ollama, managed, embedded.",
    )(function)


def targets_option(function: F) -> F:
    """Add `--targets`."""
    return click.option(
        "-t",
        "--targets",
        type=CommaList(),
        default=(),
        shell_complete=target_names,
        help="Machines to deploy to, from deployq.toml or well-known ones.",
    )(function)


def quants_option(function: F) -> F:
    """Add `--quants`."""
    return click.option(
        "--quants",
        type=CommaList(),
        default=(),
        shell_complete=quant_names,
        help="Quants to weigh, e.g. Q8_0,Q4_K_M.",
    )(function)


def parallel_option(function: F) -> F:
    """Add `--parallel`."""
    return click.option(
        "--parallel",
        type=click.IntRange(1),
        metavar="N",
        help="Requests that the server answers at a time (OLLAMA_NUM_PARALLEL).",
    )(function)


def imatrix_option(function: F) -> F:
    """Add `--imatrix`."""
    return click.option(
        "--imatrix",
        metavar="suite|FILE|none",
        help="Importance matrix to quantize with: made from the suite, or a GGUF file.",
    )(function)


def source_options(function: F) -> F:
    """Options of commands that take a training folder."""
    function = click.option(
        "--allow",
        multiple=True,
        type=click.Choice(CHECKS),
        help="Only warn where this check of the source fails; can be repeated.",
    )(function)
    return click.option(
        "--base", metavar="PATH", help="What a LoRA adapter was trained on: a folder, or hf:NAME."
    )(function)


def config_of(ctx: click.Context, **options: str | None) -> Config:
    """The configuration of this command; `options` are `section__key` = value or None."""
    config = load_config(ctx.obj["config_file"], os.environ)
    for dotted, value in options.items():
        if value is not None:
            section, key = dotted.split("__")
            config = with_option(config, section, key, value, f"--{key}")
    if ctx.obj["only_builtin"]:
        config = with_option(config, "plugins", "only_builtin", True, "--only-builtin")
    return config


@contextmanager
def session_of(
    ctx: click.Context, *, quiet: bool = False, **options: str | None
) -> Iterator[Session]:
    """The session of this command, its progress shown on stderr while it lasts."""
    config = config_of(ctx, **options)
    silent = quiet or ctx.obj["quiet"]
    with report.TerminalProgress(quiet=silent) as progress:
        talk = _nothing if silent else _talk
        yield open_session(config, progress=progress, talk=talk, alarm=_talk, ask=ask_person)


def _talk(text: str) -> None:
    report.talk(text)


def _nothing(text: str) -> None:
    """Say nothing (`--quiet`)."""


def can_ask() -> bool:
    """Whether somebody sits there: a terminal on both sides, and no CI."""
    return sys.stdin.isatty() and sys.stderr.isatty() and not os.environ.get("CI")


def ask_person(question: str) -> bool:
    """A person's answer; no, where nobody sits there."""
    return can_ask() and click.confirm(question, err=True)


def show_json(document: Mapping[str, Any]) -> None:
    """Data for programs, on stdout."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=not is_unicode(sys.stdout)))
