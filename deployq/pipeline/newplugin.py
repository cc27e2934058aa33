"""A new plugin: a package that can be installed, with tests that pass."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

from deployq import API_VERSION
from deployq.errors import ConfigError, DiskError
from deployq.files import template_dir
from deployq.records import dataclass

COMMANDS = "deployq.commands"


@dataclass(frozen=True)
class Kind:
    """One kind of plugin: what it is, and how it is used once installed."""

    description: str
    use: str
    group: str = "deployq"
    needs: tuple[str, ...] = ()


KINDS: Mapping[str, Kind] = {
    "backend": Kind(
        "A deployq backend: quantizes models.", "    deployq push MODEL --backend $name"
    ),
    "check": Kind(
        "A deployq check: judges answers in verification suites.",
        '```toml\n[[prompts]]\nuser = "..."\ncheck.$word = "please"\n```',
    ),
    "profiler": Kind(
        "A deployq profiler: knows what memory machines have.",
        "    deployq profile\n    deployq plan MODEL --targets $name-16",
    ),
    "report-format": Kind("A deployq report format.", "    deployq report --format $name"),
    "lifecycle": Kind(
        "A deployq plugin that hears of every push.",
        "    $variable=pushes.log deployq push MODEL",
    ),
    "command": Kind(
        "A command of its own for deployq.", "    deployq $name MODEL", COMMANDS, ("click>=8.1",)
    ),
}
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def new_plugin(name: str, kind: str, parent: Path) -> Path:
    """Write a plugin's package into a new folder of `parent`, and give that.

    Args:
        name: of the plugin, as people type it: small letters, digits and hyphens.
        kind: one of `KINDS`.
        parent: where the folder `deployq-NAME` shall be.

    Raises:
        ConfigError: the name can't be one.
        DiskError: the folder is there already, or can't be written.
    """
    name = name.removeprefix("deployq-")
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} can't be a plugin's name: small letters, digits and hyphens, a letter first"
        )
    words = _words(name, KINDS[kind])
    folder = parent / words["distribution"]
    test = f"tests/test_{words['word']}.py"
    files = {
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "README.md.txt",
        f"{words['module']}.py": f"{kind}.py.txt",
        test: f"{kind}_test.py.txt",
    }
    try:
        (folder / "tests").mkdir(parents=True)
        for target, template in files.items():
            text = (template_dir() / "plugin" / template).read_text(encoding="utf-8")
            (folder / target).write_text(Template(text).substitute(words), encoding="utf-8")
    except FileExistsError as exc:
        raise DiskError(f"{folder} is there already", hint="take another name") from exc
    except OSError as exc:
        raise DiskError(f"{folder} can't be written: {exc.strerror}") from exc
    return folder


def _words(name: str, kind: Kind) -> dict[str, str]:
    """What stands for each $word of the templates."""
    word = name.replace("-", "_")
    module = f"deployq_{word}"
    words = {
        "name": name,
        "word": word,
        "title": "".join(part.capitalize() for part in name.split("-")),
        "module": module,
        "distribution": f"deployq-{name}",
        "variable": f"DEPLOYQ_{word.upper()}_FILE",
        "description": kind.description,
        "group": kind.group,
        "entry": f'{name} = "{module}{":command" if kind.group == COMMANDS else ""}"',
        "dependencies": ", ".join(f'"{needed}"' for needed in ("deployq", *kind.needs)),
        "api": API_VERSION,
    }
    return {**words, "use": Template(kind.use).substitute(words)}
