"""Where what rich draws goes: data to stdout, talk to stderr."""

from __future__ import annotations

import sys

from rich.console import Console, RenderableType


def show(renderable: RenderableType) -> None:
    """Data for people, on stdout."""
    Console(file=sys.stdout, highlight=False).print(renderable)


def stderr() -> Console:
    """The console for people."""
    return Console(stderr=True, soft_wrap=True)
