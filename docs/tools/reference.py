"""The reference pages that come from the program itself: `python -m docs.tools.reference`.

docs/reference/commands.md from the command line's own help, docs/reference/settings.md from
deployq/settings.py. tests/docs/test_reference.py says when they are out of date.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click

from deployq.cli.main import VERBS, cli
from deployq.config import NAMED_SECTIONS, SECTIONS
from deployq.settings import PathSettings

FOLDER = Path(__file__).resolve().parents[1] / "reference"
NOTE = "<!-- Written by `python -m docs.tools.reference`. Don't edit it. -->\n"
COMMANDS = """# Commands

Every command that shows something takes `--json` ([its keys](../json.md)). stdout is data, stderr
is talk. `deployq completion bash` makes [your shell complete](../howto/completion.md) all of this.

| exit code | means |
|---|---|
| 0 | done |
| 1 | failed for a reason that is named |
| 2 | usage or configuration |
| 3 | nothing fits the target |
| 4 | verification failed; the earlier tag is untouched |
| 5 | the server can't be reached, or refused |
| 6 | the backend failed (1: what it wrote was refused) |
| 130 | interrupted (Ctrl-C) |
| 143, 129 | ended by SIGTERM, by SIGHUP (the terminal was closed) |

Options before the command:
"""
SETTINGS = """# deployq.toml

The nearest `deployq.toml` counts, from the working directory upwards; `-c FILE` and
`DEPLOYQ_CONFIG` name another one. Over the file go environment variables, over these options.
`deployq config` shows every value and where it came from, `deployq init` writes a first file. A key
that is not here is an error that names the nearest right one. Relative paths are relative to the
file. Sizes have their unit: `16GB` is 16 * 10^9 bytes, `16GiB` 16 * 2^30.

"""


def main() -> None:
    """Write both pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """File name to text."""
    return {"commands.md": NOTE + "".join(_commands()), "settings.md": NOTE + "".join(_settings())}


def _commands() -> Iterator[str]:
    root = click.Context(cli, info_name="deployq", max_content_width=10_000)
    yield COMMANDS
    yield from _options(cli, root)
    for verb in VERBS:
        command = cli.get_command(root, verb)
        assert command is not None, verb
        yield from _command(command, verb, root, "##")


def _command(command: click.Command, name: str, parent: click.Context, level: str) -> Iterator[str]:
    ctx = click.Context(command, info_name=name, parent=parent)
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    yield f"\n{level} {ctx.command_path}\n\n```text\n{usage}\n```\n\n{_help(command.help or '')}\n"
    yield from _options(command, ctx)
    if isinstance(command, click.Group):
        for below in command.list_commands(ctx):
            found = command.get_command(ctx, below)
            assert found is not None
            yield from _command(found, below, ctx, level + "#")


def _help(text: str) -> str:
    """A docstring as Markdown: what click keeps as it is (after a backslash-b) is a block."""
    parts = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(_part(part) for part in parts) + "\n"


def _part(part: str) -> str:
    if not part.startswith("\b\n"):
        return part
    head, _, lines = part.removeprefix("\b\n").partition("\n")
    body = "\n".join(line.removeprefix("  ") for line in lines.splitlines())
    return f"{head}\n\n```console\n{body}\n```"


def _options(command: click.Command, ctx: click.Context) -> Iterator[str]:
    records = [
        record
        for param in command.get_params(ctx)
        if (record := param.get_help_record(ctx)) and record[1] and "--help" not in record[0]
    ]
    if records:
        yield "| option | |\n|---|---|\n"
    for option, text in records:
        yield f"| {_code(option)} | {_cell(text)} |\n"


def _settings() -> Iterator[str]:
    yield SETTINGS
    yield "## At the top of the file\n\n"
    yield from _table(PathSettings)
    for section, cls in {**NAMED_SECTIONS, **SECTIONS}.items():
        named = ".NAME" if section in NAMED_SECTIONS else ""
        yield f"\n## [{section}{named}]\n\n{_first_line(cls)}\n\n"
        yield from _table(cls)


def _first_line(cls: type) -> str:
    line = (cls.__doc__ or "").strip().partition("\n")[0]
    said = re.sub(r"^`\[[^`]*`[:.;]? ?", "", line)
    return said[:1].upper() + said[1:]


def _table(cls: type) -> Iterator[str]:
    yield "| key | what it says | for example | environment |\n|---|---|---|---|\n"
    for field in fields(cls):
        told = field.metadata
        variable = f"`{told['env']}`" if told["env"] else ""
        yield f"| `{field.name}` | {_cell(told['help'])} | `{told['sample']}` | {variable} |\n"


def _code(text: str) -> str:
    """Code in a cell; a bar in it would end the cell for some readers of Markdown."""
    return f"<code>{text.replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


def _cell(text: str) -> str:
    """A text in a cell of a table; what looks like a tag is none."""
    return text.replace("|", r"\|").replace("<", "&lt;")


if __name__ == "__main__":
    main()
