"""deployq's figures beside those of a real tool, for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from deployq.report.wording import plain
from deployq.types import Judged
from deployq.units import format_bytes

_ROUNDING_BYTES = 1 << 20  # tools print whole MiB


def judged_view(judged: Sequence[Judged]) -> RenderableType:
    """A row per figure that was asked of a tool."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("asked of a real tool", "deployq", "the tool", "difference", "by"):
        right = heading in ("deployq", "the tool", "difference")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for one in judged:
        table.add_row(
            plain(one.what),
            format_bytes(one.own_bytes),
            format_bytes(one.judge_bytes),
            _difference(one),
            plain(one.judge),
        )
    return Group("", table)


def _difference(one: Judged) -> str:
    if one.own_bytes == one.judge_bytes:
        return "none"
    if abs(one.own_bytes - one.judge_bytes) <= _ROUNDING_BYTES:
        return "< 1 MiB"
    return f"{one.difference:+.2%}"
