"""What plugins are installed, as their entry points say; nothing is imported for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from deployq.entrypoints import COMMAND_GROUP, GROUP, EntryPoint, entry_points
from deployq.hookspecs import PROJECT
from deployq.plugins.choice import Choice
from deployq.records import dataclass

COMMAND = "command"
"""What stands among a plugin's hooks for a command: an entry point of its own group."""


@dataclass(frozen=True)
class PluginInfo:
    """One plugin as found: `error` is empty where it loaded, `left_out` where it may load."""

    name: str
    module: str = ""
    distribution: str = ""
    version: str = ""
    entry: EntryPoint | None = None
    path: Path | None = None
    hooks: tuple[str, ...] = ()
    error: str = ""
    hint: str = ""
    left_out: str = ""

    @property
    def builtin(self) -> bool:
        """Whether it came with deployq itself."""
        return self.distribution == PROJECT and self.path is None

    @property
    def origin(self) -> str:
        """Where it is from: a distribution, or a file of the project."""
        return str(self.path) if self.path else self.distribution


def find_installed(choice: Choice) -> list[PluginInfo]:
    """Every installed plugin, deployq's own first; of two with one name the later is at fault."""
    return list(_without_doubles(_infos(GROUP, choice)))


def find_local(choice: Choice, taken: set[str]) -> list[PluginInfo]:
    """The project's own plugins; a name that is `taken` belongs to somebody else."""
    found, taken = [], set(taken)
    for path in choice.paths:
        name = path.stem
        left_out = choice.reason_against((name,), builtin=False)
        error = f"there is a plugin {name!r} already" if name in taken and not left_out else ""
        taken.add(name)
        found.append(PluginInfo(name, path.name, path=path, error=error, left_out=left_out))
    return found


def find_commands(choice: Choice, taken: Iterable[str] = ()) -> list[PluginInfo]:
    """Every command of a plugin; one whose name is `taken` by deployq is at fault."""
    found = []
    for info in _without_doubles(_infos(COMMAND_GROUP, choice)):
        error = f"deployq has a command {info.name!r} of its own" if info.name in taken else ""
        found.append(replace(info, hooks=(COMMAND,), error=error or info.error))
    return found


def _infos(group: str, choice: Choice) -> list[PluginInfo]:
    infos = [_info(entry, choice) for entry in entry_points(group=group)]
    return sorted(infos, key=lambda info: not info.builtin)


def _info(entry: EntryPoint, choice: Choice) -> PluginInfo:
    info = PluginInfo(entry.name, entry.value, entry.distribution, entry.version, entry)
    names = (entry.name, entry.distribution)
    return replace(info, left_out=choice.reason_against(names, info.builtin))


def _without_doubles(infos: Iterable[PluginInfo]) -> Iterator[PluginInfo]:
    """A name belongs to the first that may be loaded; nobody takes one of deployq's own."""
    owners: dict[str, PluginInfo] = {}
    for info in infos:
        if info.left_out:
            yield info
        elif owner := owners.get(info.name):
            error = f"{owner.distribution} brings a plugin of that name, too"
            yield replace(info, error=error, hint=f"pip uninstall {info.distribution}")
        else:
            owners[info.name] = info
            yield info
