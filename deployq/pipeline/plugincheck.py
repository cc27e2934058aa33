"""How every plugin is: what it brings, and whether that can be used here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from deployq.plugins import PluginInfo, Plugins
from deployq.plugins.parts import SHAPES
from deployq.records import dataclass
from deployq.types import Health

State = Literal["ok", "broken", "left out"]


@dataclass(frozen=True)
class Part:
    """One thing that a plugin brings; `ok` is None where it can't be asked."""

    kind: str
    name: str
    ok: bool | None = None
    detail: str = ""


@dataclass(frozen=True)
class Checkup:
    """A plugin and how it is; `faults` are hooks that failed when they were asked."""

    plugin: PluginInfo
    parts: tuple[Part, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def health(self) -> State:
        if self.plugin.left_out:
            return "left out"
        return "broken" if self.plugin.error or self.faults else "ok"

    @property
    def shown(self) -> str:
        """Its health for people."""
        plugin = self.plugin
        if plugin.left_out:
            return f"left out: {plugin.left_out}"
        if plugin.error:
            hint = f"; {plugin.hint}" if plugin.hint else ""
            return f"BROKEN: {plugin.error}{hint}"
        if self.faults:
            return "BROKEN: " + "; ".join(self.faults)
        ailing = [f"{part.name}: {part.detail}" for part in self.parts if part.ok is False]
        return "; ".join(["ok", *(f"can't be used here: {one}" for one in ailing)])


def check_plugins(plugins: Plugins, commands: Iterable[PluginInfo] = ()) -> list[Checkup]:
    """Every plugin, asked for what it brings; commands are looked at, not imported."""
    found = []
    for plugin in plugins.found:
        usable = not plugin.error and not plugin.left_out
        parts = tuple(_parts(plugins, plugin)) if usable else ()
        found.append(Checkup(plugin, parts, tuple(plugins.faults.get(plugin.name, ()))))
    return [*found, *map(Checkup, commands)]


def _parts(plugins: Plugins, plugin: PluginInfo) -> Iterator[Part]:
    for hook in plugin.hooks:
        if hook not in SHAPES:
            continue
        kind = hook.removeprefix("deployq_").rstrip("s").replace("_", " ")
        for part in plugins.brought_by(plugin.name, hook):
            asked = getattr(part, "health", None)
            health: Health | None = asked() if asked else None
            yield Part(kind, part.name, *((health.ok, health.detail) if health else ()))
