"""The plugin manager: every plugin that may be, imported and registered."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pluggy

from deployq import hookspecs
from deployq.errors import DeployqError, PluginError
from deployq.plugins.apiversion import require_version, wanted_by
from deployq.plugins.choice import Choice
from deployq.plugins.found import PluginInfo, find_installed, find_local
from deployq.plugins.guard import CAUTION, cause, guarded_hook, guarded_part
from deployq.plugins.late import Ask, Named
from deployq.plugins.local import load_local
from deployq.plugins.parts import lacking
from deployq.plugins.waiting import Say, waiting_for


class Loaded:
    """The plugins that may be loaded, each registered with pluggy if it can be.

    Args:
        choice: which.
        extra: plugins to register besides, by name (for tests and embedding).
        say: gets a sentence for people about each plugin that is at fault.
        alarm: gets one about a plugin that takes long.
        ask: asks a person whether a project's plugin may be run.
    """

    def __init__(
        self,
        choice: Choice,
        extra: Mapping[str, object],
        say: Say,
        alarm: Say,
        ask: Ask,
    ) -> None:
        self.choice = choice
        self.faults: dict[str, list[str]] = {}
        self.found: list[PluginInfo] = []
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self._say, self._alarm, self._ask = say, alarm, ask
        self._load(self.manager, extra)

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
            for item in self._brought(impl, hook):
                if item.name in found:
                    raise PluginError(
                        f"two plugins bring the same {_kind(hook)} {item.name!r}: "
                        f"{found[item.name][1]} and {impl.plugin_name}",
                        hint="turn one off: [plugins] disable = [...] in deployq.toml",
                    )
                found[item.name] = (item, impl.plugin_name)
        return {name: item for name, (item, _) in found.items()}

    def brought_by(self, plugin: str, hook: str) -> list[Named]:
        """What one plugin brings for a hook."""
        impls = getattr(self.hook, hook).get_hookimpls()
        return [
            i for impl in impls if impl.plugin_name == plugin for i in self._brought(impl, hook)
        ]

    # ------------------------------------------------------------ loading

    def _load(self, manager: pluggy.PluginManager, extra: Mapping[str, object]) -> None:
        for info in find_installed(self.choice):
            self.found.append(info if info.left_out or info.error else self._enter(manager, info))
        for info in find_local(self.choice, {info.name for info in self.found}):
            self.found.append(info if info.left_out or info.error else self._enter(manager, info))
        for name, plugin in extra.items():
            manager.register(plugin, name)
            self._guard(manager, plugin, name)
        for info in self.found:
            if info.error:
                hint = f"; {info.hint}" if info.hint else ""
                self._say(f"plugin {info.name!r} is left out: {info.error}{hint}")

    def _enter(self, manager: pluggy.PluginManager, info: PluginInfo) -> PluginInfo:
        """Import and register one plugin; whatever is wrong with it stands in its `error`."""
        try:
            with waiting_for(f"plugin {info.name!r} to be imported", CAUTION, self._alarm):
                plugin = self._imported(info)
            return replace(info, hooks=self._register(manager, plugin, info.name))
        except (Exception, SystemExit) as exc:  # noqa: BLE001  (a stranger's; it is named)
            if manager.has_plugin(info.name):
                manager.unregister(name=info.name)
            hint = exc.hint if isinstance(exc, DeployqError) else ""
            return replace(info, error=cause(exc), hint=hint)

    def _imported(self, info: PluginInfo) -> Any:
        if info.path:
            shown = info.path
            if self.choice.folder and shown.is_relative_to(self.choice.folder):
                shown = shown.relative_to(self.choice.folder)
            return load_local(info.path, str(shown), self._ask)
        assert info.entry
        try:
            plugin = info.entry.load()
        except ImportError:
            require_version(wanted_by(info.entry.module))
            raise
        return plugin

    def _register(self, manager: pluggy.PluginManager, plugin: Any, name: str) -> tuple[str, ...]:
        """Raises PluginError, or what pluggy raises, where the plugin does not fit the hooks."""
        require_version(getattr(plugin, "deployq_api", None))
        manager.register(plugin, name)
        hooks = tuple(caller.name for caller in manager.get_hookcallers(plugin) or ())
        known = {hook for hook in vars(manager.hook) if getattr(manager.hook, hook).has_spec()}
        for hook in hooks:
            if hook not in known:
                near = difflib.get_close_matches(hook, known, 1)
                raise PluginError(
                    f"there is no hook {hook}" + (f"; did you mean {near[0]}?" if near else "")
                )
        unmarked = _unmarked(plugin, set(hooks))
        if unmarked:
            raise PluginError(f"{unmarked[0]} has no @deployq.hookimpl above it")
        if not hooks:
            raise PluginError("it brings nothing: no function is marked with @deployq.hookimpl")
        self._guard(manager, plugin, name)
        return hooks

    def _guard(self, manager: pluggy.PluginManager, plugin: Any, name: str) -> None:
        """Let every hook of a plugin fail alone."""
        for caller in manager.get_hookcallers(plugin) or ():
            for impl in caller.get_hookimpls():
                if impl.plugin is plugin and not (impl.wrapper or impl.hookwrapper):
                    tell = self._teller(name)
                    function = guarded_hook(name, caller.name, impl.function, tell, self._alarm)
                    object.__setattr__(impl, "function", function)

    def _teller(self, plugin: str) -> Say:
        def tell(message: str) -> None:
            known = self.faults.setdefault(plugin, [])
            if message not in known:
                known.append(message)
                self._say(message)

        return tell

    def _brought(self, impl: pluggy.HookImpl, hook: str) -> Iterable[Named]:
        """What one plugin brings, without what lacks a part."""
        plugin, tell = impl.plugin_name, self._teller(impl.plugin_name)
        items = impl.function() or ()
        if not isinstance(items, Iterable):
            tell(f"plugin {plugin!r}: {hook} gives {items!r}, no list")
            return
        builtin = any(info.name == plugin and info.builtin for info in self.found)
        for item in items:
            if missing := lacking(item, hook):
                tell(f"plugin {plugin!r}: the {_kind(hook)} {item!r} lacks {', '.join(missing)}")
            elif builtin:
                yield item
            else:
                yield guarded_part(item, plugin, tell, self._alarm)


def _unmarked(plugin: Any, hooks: set[str]) -> list[str]:
    """Functions of the plugin with a hook's name that pluggy does not see."""
    specs = {name for name in vars(hookspecs) if name.startswith(f"{hookspecs.PROJECT}_")}
    return [name for name in sorted(specs - hooks) if callable(getattr(plugin, name, None))]


def _kind(hook: str) -> str:
    return hook.removeprefix(f"{hookspecs.PROJECT}_").rstrip("s").replace("_", " ")
