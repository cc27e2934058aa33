"""`deployq doctor`: what is here, what is missing, and the command that gets it."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import click
from rich.table import Table

from deployq import __version__
from deployq.cli.shared import json_option, session_of, show, show_json
from deployq.cli.tools import USES
from deployq.pipeline.session import Session
from deployq.tools import find_tool
from deployq.types import Health
from deployq.units import format_bytes


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: `needed` says that a push can't do without it."""

    what: str
    ok: bool
    detail: str
    hint: str = ""
    needed: bool = False


class Checked(Protocol):
    """A plugin's part that knows its own health."""

    def health(self) -> Health: ...


@click.command()
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check what is here and what is missing; exit code 1 if a push can't work.

    \b
    Examples:
      deployq doctor
      deployq doctor --json
    """
    with session_of(ctx, quiet=True) as session:
        findings = list(_examine(session))
    if as_json:
        show_json({"schema": 1, "findings": [vars(finding) for finding in findings]})
    else:
        show(_table(findings))
    if any(finding.needed and not finding.ok for finding in findings):
        ctx.exit(1)


def _examine(session: Session) -> Iterator[Finding]:
    yield Finding(
        "deployq", True, f"{__version__} on Python {platform.python_version()}, {platform.system()}"
    )
    file = session.config.file
    yield Finding("configuration", True, str(file) if file else "no deployq.toml; none is needed")
    yield from _machine(session)
    yield from _tools(session)
    yield _backend(session)
    yield from _runtimes(session)
    yield from _plugins(session)
    yield _disk(session)


def _machine(session: Session) -> Iterator[Finding]:
    for profiler in session.profilers().values():
        if hardware := profiler.detect():
            memory = f"{format_bytes(hardware.memory_bytes)} {hardware.kind}"
            free = hardware.available_bytes
            shown = f", {format_bytes(free)} available" if free is not None else ""
            yield Finding(f"this machine ({profiler.name})", True, f"{memory}{shown}")


def _tools(session: Session) -> Iterator[Finding]:
    for name, use in USES.items():
        if tool := find_tool(name, session.env):
            yield Finding(name, True, f"{tool.path} ({tool.version}; {tool.origin})")
        else:
            yield Finding(name, False, f"not here; it {use}", "deployq tools install")


def _backend(session: Session) -> Finding:
    """Whether anything here can quantize."""
    health = _healths(session.backends())
    able = [f"{name} {h.version}".strip() for name, h in health.items() if h.ok]
    if able:
        return Finding("quantizer", True, ", ".join(able), needed=True)
    why = "; ".join(f"{name}: {h.detail}" for name, h in health.items()) or "no backend plugin"
    hint = next((h.hint for h in health.values() if h.hint), "deployq plugins")
    return Finding("quantizer", False, why, hint, needed=True)


def _runtimes(session: Session) -> Iterator[Finding]:
    wanted = session.config.runtime.name
    health = _healths(session.runtimes())
    for name, h in health.items():
        mine = name == wanted
        shown = f"runtime {name}" + (" (the configured one)" if mine else "")
        detail = " ".join(filter(None, (h.version, h.detail, str(h.path or ""))))
        yield Finding(shown, h.ok, detail, h.hint, needed=mine)
    if wanted not in health:
        hint = f"set [runtime] name to one of: {', '.join(health)}"
        yield Finding(f"runtime {wanted}", False, "no plugin brings it", hint, needed=True)


def _plugins(session: Session) -> Iterator[Finding]:
    for plugin in session.plugins.found:
        if plugin.error:
            hint = f"pip install --upgrade {plugin.distribution}"
            yield Finding(f"plugin {plugin.name}", False, plugin.error, hint)


def _disk(session: Session) -> Finding:
    folder = next(p for p in (session.cache_dir, *session.cache_dir.parents) if p.exists())
    free = shutil.disk_usage(folder).free
    return Finding("disk", True, f"{format_bytes(free)} free for artifacts in {session.cache_dir}")


def _healths(parts: Mapping[str, Checked]) -> dict[str, Health]:
    return {name: part.health() for name, part in parts.items()}


def _table(findings: Iterable[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(width=1)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for finding in findings:
        mark = "✓" if finding.ok else "✗" if finding.needed else "-"
        hint = f"\ntry: {finding.hint}" if finding.hint and not finding.ok else ""
        table.add_row(mark, finding.what, finding.detail + hint)
    return table
