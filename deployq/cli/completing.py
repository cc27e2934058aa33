"""Names that a shell completes: from deployq.toml, deployq.lock and the runs' folder; no server.

A callback that fails leaves the shell without a suggestion and says nothing: somebody is typing.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from deployq.config import Config, load_config
from deployq.errors import ConfigError
from deployq.plan.catalogue import CATALOGUE

RUNTIMES = ("ollama", "managed", "embedded")
_FILES = CompletionItem("", type="file")


def model_names(
    ctx: click.Context,
    param: click.Parameter,  # noqa: ARG001  (click names it)
    incomplete: str,
) -> list[CompletionItem]:
    """Models of deployq.toml; where none fits, the shell's own file names."""
    return [_FILES, *_fitting(_config(ctx).models, incomplete)]


def tag_names(
    ctx: click.Context,
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem]:
    """Tags of deployq.lock, and models, each of which stands for its tags."""
    config = _config(ctx)
    return _fitting((*config.models, *_locked(config)), incomplete)


def target_names(
    ctx: click.Context,
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem]:
    """Targets of deployq.toml, the last one of a list with commas."""
    return _last_of_list(_config(ctx).targets, incomplete)


def quant_names(
    ctx: click.Context,  # noqa: ARG001
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem]:
    """Quants of the catalogue, the last one of a list with commas."""
    return _last_of_list(CATALOGUE, incomplete)


def runtime_names(
    ctx: click.Context,  # noqa: ARG001
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem]:
    """deployq's own runtimes; to know those of plugins, all of them would have to be loaded."""
    return _fitting(RUNTIMES, incomplete)


def run_names(
    ctx: click.Context,
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem]:
    """Runs of the project, the newest first."""
    config = _config(ctx)
    folder = config.paths.runs or config.folder / ".deployq" / "runs"
    found = [path.name for path in folder.glob("*") if path.is_dir()]
    return [_FILES, *_fitting(sorted(found, reverse=True), incomplete)]


def verbs(lines: Mapping[str, str], incomplete: str) -> list[CompletionItem]:
    """Commands with a line about each, which zsh and fish show."""
    return [CompletionItem(v, help=line) for v, line in lines.items() if v.startswith(incomplete)]


def _config(ctx: click.Context) -> Config:
    """The configuration of the command that is being typed; an empty one where it has a mistake."""
    try:
        return load_config(ctx.find_root().params.get("config_file"), os.environ)
    except ConfigError:
        return Config(folder=Path.cwd())


def _locked(config: Config) -> Iterable[str]:
    """The tags of deployq.lock as they stand there; none where it can't be read."""
    path = config.paths.lockfile or config.folder / "deployq.lock"
    try:
        tags = tomllib.loads(path.read_text(encoding="utf-8")).get("tags")
    except (OSError, ValueError, RecursionError):
        return ()
    return tags if isinstance(tags, dict) else ()


def _fitting(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(n) for n in names if n.lower().startswith(incomplete.lower())]


def _last_of_list(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    before, comma, last = incomplete.rpartition(",")
    used = {name.lower() for name in before.split(",")}
    left = (name for name in names if name.lower() not in used)
    return [CompletionItem(f"{before}{comma}{item.value}") for item in _fitting(left, last)]
