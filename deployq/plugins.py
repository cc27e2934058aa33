"""The plugin manager: a factory, no global. A broken plugin is named and stops nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, TypeVar

import pluggy

from deployq import hookspecs
from deployq.errors import PluginError

GROUP = hookspecs.PROJECT


class Named(Protocol):
    name: str


N = TypeVar("N", bound=Named)


@dataclass(frozen=True)
class PluginInfo:
    """One plugin as found: `error` is empty where it loaded."""

    entry: EntryPoint
    hooks: tuple[str, ...] = ()
    error: str = ""

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def module(self) -> str:
        return self.entry.value

    @property
    def distribution(self) -> str:
        return self.entry.dist.name if self.entry.dist else ""

    @property
    def version(self) -> str:
        return self.entry.dist.version if self.entry.dist else ""


@dataclass
class Plugins:
    """The loaded plugins; `hook` is pluggy's relay."""

    manager: pluggy.PluginManager
    found: list[PluginInfo] = field(default_factory=list)

    @property
    def hook(self) -> pluggy.HookRelay:
        return self.manager.hook

    def named(self, hook: str) -> dict[str, Named]:
        """What the plugins bring for a hook such as `deployq_backends`, by name.

        Raises:
            PluginError: two plugins bring one name; it names both.
        """
        found: dict[str, tuple[Named, str]] = {}
        for impl in getattr(self.hook, hook).get_hookimpls():
            for item in _call(impl):
                if item.name in found:
                    raise PluginError(
                        f"two plugins bring the same {_kind(hook)} {item.name!r}: "
                        f"{found[item.name][1]} and {impl.plugin_name}",
                        hint="turn one off: [plugins] disable = [...] in deployq.toml",
                    )
                found[item.name] = (item, impl.plugin_name)
        return {name: item for name, (item, _) in found.items()}


def load_plugins(disable: Sequence[str] = (), extra: Mapping[str, object] | None = None) -> Plugins:
    """Find and register every plugin of the entry-point group `deployq`.

    Args:
        disable: names of entry points to leave out.
        extra: plugins to register besides, by name (for tests and embedding).
    """
    plugins = Plugins(pluggy.PluginManager(hookspecs.PROJECT))
    plugins.manager.add_hookspecs(hookspecs)
    for entry in _entry_points():
        if entry.name not in disable:
            plugins.found.append(_register(plugins.manager, entry))
    for name, plugin in (extra or {}).items():
        plugins.manager.register(plugin, name)
    return plugins


def _entry_points() -> Iterable[EntryPoint]:
    """The plugins' entry points; of two with one name, the one that is found first."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, entry)
    return found.values()


def _register(manager: pluggy.PluginManager, entry: EntryPoint) -> PluginInfo:
    try:
        plugin = entry.load()
        manager.register(plugin, entry.name)
        manager.check_pending()
    except Exception as exc:  # noqa: BLE001  (a stranger's import may raise anything; it is named)
        if manager.has_plugin(entry.name):
            manager.unregister(name=entry.name)
        return PluginInfo(entry, error=f"{type(exc).__name__}: {exc}")
    hooks = tuple(caller.name for caller in manager.get_hookcallers(plugin) or ())
    return PluginInfo(entry, hooks)


def _call(impl: pluggy.HookImpl) -> Iterable[Named]:
    try:
        brought: Iterable[Named] = list(impl.function())  # type: ignore[call-overload]
    except Exception as exc:
        raise PluginError(
            f"plugin {impl.plugin_name!r} failed in {impl.function.__name__}: "
            f"{type(exc).__name__}: {exc}",
            hint="turn it off: [plugins] disable = [...] in deployq.toml",
        ) from exc
    return brought


def _kind(hook: str) -> str:
    return hook.removeprefix(f"{hookspecs.PROJECT}_").rstrip("s").replace("_", " ")


def pick(items: Mapping[str, N], name: str, kind: str) -> N:
    """The item called `name`.

    Raises:
        PluginError: there is none; the message lists those there are.
    """
    if name in items:
        return items[name]
    known = ", ".join(sorted(items)) or "none"
    raise PluginError(f"there is no {kind} {name!r}; there are: {known}", hint="deployq plugins")
