"""Plugins for a command that may need some: nothing is imported before a hook is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from deployq import plugins
from deployq.errors import PluginError
from deployq.plugins.choice import Choice

if TYPE_CHECKING:
    from deployq.plugins.found import PluginInfo
    from deployq.plugins.loading import Hooks, Loaded

Say = Callable[[str], None]
Ask = Callable[[str], bool]
"""Asks a person a question; gives whether the answer is yes."""


class Named(Protocol):
    name: str


N = TypeVar("N", bound=Named)


class Plugins:
    """The plugins that may be loaded; they are, when something is first asked of them."""

    def __init__(self, choice: Choice, load: Callable[[], Loaded]) -> None:
        self.choice = choice
        self._load = load
        self._loaded: Loaded | None = None
        self._lock = threading.RLock()

    @property
    def loaded(self) -> Loaded:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    @property
    def found(self) -> Sequence[PluginInfo]:
        """Every plugin there is, loaded, broken or left out."""
        return self.loaded.found

    @property
    def faults(self) -> Mapping[str, Sequence[str]]:
        """What failed so far, by plugin."""
        return self.loaded.faults

    @property
    def hook(self) -> Hooks:
        """Every hook by its name, to be called."""
        return self.loaded.hook

    def named(self, hook: str) -> dict[str, Named]:
        """What the plugins bring for a hook such as `deployq_backends`, by name.

        Raises:
            PluginError: two plugins bring one name; it names both.
        """
        return self.loaded.named(hook)

    def brought_by(self, plugin: str, hook: str) -> list[Named]:
        """What one plugin brings for a hook."""
        return self.loaded.brought_by(plugin, hook)


def load_plugins(
    choice: Choice | None = None,
    extra: Mapping[str, object] | None = None,
    *,
    say: Say | None = None,
    alarm: Say | None = None,
    ask: Ask | None = None,
) -> Plugins:
    """The plugins of the entry-point group `deployq`, imported when first needed.

    Args:
        choice: which may be loaded; default: every one.
        extra: plugins to register besides, by name (for tests and embedding).
        say: gets a sentence about each plugin that is at fault.
        alarm: gets one about a plugin that takes long; default: `say`.
        ask: asks a person whether a file of the project may be run; default: nobody is there.
    """
    wanted, told = choice or Choice(), say or _nothing
    return Plugins(
        wanted, lambda: plugins.Loaded(wanted, extra or {}, told, alarm or told, ask or never)
    )


def never(question: str) -> bool:  # noqa: ARG001
    """Nobody is there to ask."""
    return False


def _nothing(text: str) -> None:
    """Tell nobody."""


def pick(items: Mapping[str, N], name: str, kind: str) -> N:
    """The item called `name`.

    Raises:
        PluginError: there is none; the message lists those there are.
    """
    if name in items:
        return items[name]
    known = ", ".join(sorted(items)) or "none"
    raise PluginError(f"there is no {kind} {name!r}; there are: {known}", hint="deployq plugins")
