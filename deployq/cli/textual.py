"""Options that say which text is measured on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from deployq.errors import ConfigError
from deployq.pipeline.texts import TextSource

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)


def text_options(function: F) -> F:
    """Add `--text`, `--jsonl`, `--from-suite` and `--suite`."""
    for option in (
        click.option("--suite", type=_FILE, help="This suite's prompts, for --from-suite."),
        click.option("--from-suite", is_flag=True, help="The suite's prompts, with answers."),
        click.option("--jsonl", type=_FILE, help="Conversations, one JSON object a line."),
        click.option("--text", type=_FILE, help="A plain text."),
    ):
        function = option(function)
    return function


def text_source(given: Mapping[str, Any]) -> TextSource:
    """What those options say.

    Raises:
        ConfigError: two of them were given.
    """
    from_suite = given["from_suite"] or given["suite"] is not None
    sources = {"--text": given["text"], "--jsonl": given["jsonl"], "--from-suite": from_suite}
    named = [name for name, value in sources.items() if value]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)} don't go together: one text at a time")
    return TextSource(given["text"], given["jsonl"], from_suite, given["suite"])
