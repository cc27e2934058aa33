"""Entry points of what is installed, as importlib.metadata reads them but at a command's pace.

That library's import, with its parser of e-mails, takes a tenth of what a plan takes from the
shell. The formats are those of the packaging guide's specifications "Recording installed projects"
and "Entry points".
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

GROUP = "deployq"
COMMAND_GROUP = "deployq.commands"
_HEADERS = ("METADATA", "PKG-INFO")
"""Where a distribution's name and version stand: in a dist-info, in an egg-info."""


class EntryPoint(NamedTuple):
    """An object that an installed distribution names.

    Args:
        value: `module` or `module:object`.
        distribution: what was installed, as its maker spells it.
    """

    name: str
    value: str
    distribution: str = ""
    version: str = ""

    @property
    def module(self) -> str:
        return self.value.partition(":")[0].strip()

    def load(self) -> Any:
        """Import it; raises whatever its module does."""
        attributes = self.value.partition(":")[2].partition("[")[0].strip()
        module = importlib.import_module(self.module)
        return reduce(getattr, filter(None, attributes.split(".")), module)


def entry_points(group: str) -> list[EntryPoint]:
    """The entry points of a group; of a distribution that is there twice, those of the first."""
    found: dict[str, list[EntryPoint]] = {}
    for folder in map(Path, sys.path):
        for name, entries in _zipped(folder, group) if folder.is_file() else _here(folder, group):
            found.setdefault(name, entries)
    return [entry for entries in found.values() for entry in entries]


def _here(folder: Path, group: str) -> Iterator[tuple[str, list[EntryPoint]]]:
    """The distributions in a folder of the module path by name, and what they name."""
    for info in folder.glob("*.*-info"):
        name = re.sub(r"[-_.]+", "-", info.stem.partition("-")[0]).lower()
        pairs = list(_pairs(_text(info / "entry_points.txt"), group))
        called = _called(info) if pairs else ("", "")
        yield name, [EntryPoint(*pair, *called) for pair in pairs]


def _pairs(text: str, group: str) -> Iterator[tuple[str, str]]:
    """Name and value of each entry point of a group in an `entry_points.txt`."""
    section = ""
    for line in map(str.strip, text.splitlines() if f"[{group}]" in text else ()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif section == group and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            yield name.strip(), value.strip()


def _called(info: Path) -> tuple[str, str]:
    """A distribution's name and version, from its headers."""
    headers = "".join(_text(info / file).partition("\n\n")[0] + "\n" for file in _HEADERS)
    found = (re.search(rf"^{key}:(.*)$", headers, re.MULTILINE) for key in ("Name", "Version"))
    name, version = (match[1].strip() if match else "" for match in found)
    return name, version


def _text(file: Path) -> str:
    with contextlib.suppress(OSError):
        return file.read_text("utf-8", "replace")
    return ""


def _zipped(archive: Path, group: str) -> Iterator[tuple[str, list[EntryPoint]]]:
    """The same of what lies in an archive on the module path."""
    metadata = importlib.import_module("importlib.metadata")
    for one in metadata.distributions(path=[str(archive)]):
        name, version = str(one.metadata["Name"]), str(one.metadata["Version"])
        entries = one.entry_points.select(group=group)
        yield name.lower(), [EntryPoint(e.name, e.value, name, version) for e in entries]
