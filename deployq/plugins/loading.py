"""Plugins as pluggy has them: each imported when its stage is, whatever it does wrong named."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Iterable, Mapping
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
from deployq.plugins.mention import surely_without
from deployq.plugins.parts import lacking
from deployq.plugins.waiting import Say, waiting_for

_PREFIX = f"{hookspecs.PROJECT}_"
SPECS = frozenset(name for name in vars(hookspecs) if name.startswith(_PREFIX))
"""The names of the hooks there are."""


class Hooks:
    """Every hook by its name, called as pluggy's are: `hooks.deployq_push_started(plan=plan)`."""

    def __init__(self, caller: Callable[[str], pluggy.HookCaller]) -> None:
        self._caller = caller

    def __getattr__(self, name: str) -> pluggy.HookCaller:
        return self._caller(name)


class Loaded:
    """The plugins that may be loaded; each is imported when a hook is asked for that it may have.

    A hook has a pluggy manager of its own with the plugins that may implement it, in the order in
    which they were found, whichever hook is asked for first.

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
        self._say, self._alarm, self._ask = say, alarm, ask
        self._lock = threading.RLock()
        self._callers: dict[str, pluggy.HookCaller] = {}
        self._plugins: dict[str, Any] = {}
        self._extra = extra
        self._infos = find_installed(choice)
        self._infos += find_local(choice, {info.name for info in self._infos})
        self.hook = Hooks(self._caller)
        for info in self._infos:
            self._tell_error(info)

    @property
    def found(self) -> list[PluginInfo]:
        """Every plugin there is, imported if it may be: broken ones have their `error`."""
        with self._lock:
            for index in range(len(self._infos)):
                self._entered(index)
            return list(self._infos)

    def named(self, hook: str) -> dict[str, Named]:
        """What the plugins bring for a hook such as `deployq_backends`, by name.

        Raises:
            PluginError: two plugins bring one name; it names both.
        """
        found: dict[str, tuple[Named, str]] = {}
        for impl in self._caller(hook).get_hookimpls():
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
        impls = [i for i in self._caller(hook).get_hookimpls() if i.plugin_name == plugin]
        return [item for impl in impls for item in self._brought(impl, hook)]

    # ------------------------------------------------------------ loading

    def _caller(self, hook: str) -> pluggy.HookCaller:
        """pluggy's caller of a hook, with every plugin that may implement it."""
        with self._lock:
            if hook not in self._callers:
                self._callers[hook] = self._assembled(hook)
            return self._callers[hook]

    def _assembled(self, hook: str) -> pluggy.HookCaller:
        manager = _manager()
        for index, info in enumerate(self._infos):
            if info.name not in self._plugins and surely_without(info.entry, hook, SPECS):
                continue
            if (plugin := self._entered(index)) is not None:
                manager.register(plugin, info.name)
        for name, plugin in self._extra.items():
            manager.register(plugin, name)
        caller: pluggy.HookCaller = getattr(manager.hook, hook)
        for impl in caller.get_hookimpls():
            if not (impl.wrapper or impl.hookwrapper):
                name, tell = impl.plugin_name, self._teller(impl.plugin_name)
                function = guarded_hook(name, hook, impl.function, tell, self._alarm)
                object.__setattr__(impl, "function", function)
        return caller

    def _entered(self, index: int) -> Any:
        """A plugin, imported and checked once; None where it is broken or left out."""
        info = self._infos[index]
        if info.left_out or info.error:
            return None
        if info.name not in self._plugins:
            self._enter(index)
        return self._plugins.get(info.name)

    def _enter(self, index: int) -> None:
        """Import and check a plugin; whatever is wrong with it stands in its `error`."""
        info = self._infos[index]
        try:
            with waiting_for(f"plugin {info.name!r} to be imported", CAUTION, self._alarm):
                plugin = self._imported(info)
            self._infos[index] = replace(info, hooks=self.hooks_of(plugin, info.name))
            self._plugins[info.name] = plugin
        except (Exception, SystemExit) as exc:  # noqa: BLE001  (a stranger's; it is named)
            hint = exc.hint if isinstance(exc, DeployqError) else ""
            self._infos[index] = replace(info, error=cause(exc), hint=hint)
            self._tell_error(self._infos[index])

    def _tell_error(self, info: PluginInfo) -> None:
        if info.error:
            hint = f"; {info.hint}" if info.hint else ""
            self._say(f"plugin {info.name!r} is left out: {info.error}{hint}")

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

    def hooks_of(self, plugin: Any, name: str) -> tuple[str, ...]:
        """The hooks of a plugin.

        Raises:
            PluginError, or what pluggy raises: it does not fit the hooks.
        """
        require_version(getattr(plugin, "deployq_api", None))
        manager = _manager()
        manager.register(plugin, name)
        hooks = tuple(caller.name for caller in manager.get_hookcallers(plugin) or ())
        for hook in hooks:
            if hook not in SPECS:
                near = difflib.get_close_matches(hook, SPECS, 1)
                raise PluginError(
                    f"there is no hook {hook}" + (f"; did you mean {near[0]}?" if near else "")
                )
        unmarked = sorted(n for n in SPECS - set(hooks) if callable(getattr(plugin, n, None)))
        if unmarked:
            raise PluginError(f"{unmarked[0]} has no @deployq.hookimpl above it")
        if not hooks:
            raise PluginError("it brings nothing: no function is marked with @deployq.hookimpl")
        return hooks

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
        builtin = any(info.name == plugin and info.builtin for info in self._infos)
        for item in items:
            if missing := lacking(item, hook):
                tell(f"plugin {plugin!r}: the {_kind(hook)} {item!r} lacks {', '.join(missing)}")
            elif builtin:
                yield item
            else:
                yield guarded_part(item, plugin, tell, self._alarm)


class _Manager(pluggy.PluginManager):
    """pluggy's, which looks for a hook behind names alone that are made like a hook's."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> pluggy.HookimplOpts | None:
        if not name.startswith(_PREFIX):
            return None
        return super().parse_hookimpl_opts(plugin, name)


def _manager() -> pluggy.PluginManager:
    manager = _Manager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def _kind(hook: str) -> str:
    return hook.removeprefix(f"{hookspecs.PROJECT}_").rstrip("s").replace("_", " ")
