"""Where what rich draws goes: data to stdout, talk to stderr."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console, RenderableType


def plain_console(**options: Any) -> Console:
    """The console of all that deployq draws with rich; `options` are rich's own.

    Texts are shown as they are: most are names, paths, prompts and answers of users, in which
    rich would read `[red]` as a style and `:computer:` as an emoji.
    """
    return Console(markup=False, emoji=False, highlight=False, **options)


def show(renderable: RenderableType) -> None:
    """Data for people, on stdout."""
    plain_console(file=sys.stdout).print(renderable)


def stderr() -> Console:
    """The console for people."""
    return plain_console(stderr=True, soft_wrap=True)
