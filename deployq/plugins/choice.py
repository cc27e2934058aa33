"""Which plugins may be loaded: all, those on a list, or deployq's own alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from deployq.records import dataclass

if TYPE_CHECKING:
    from deployq.settings import PluginSettings


@dataclass(frozen=True)
class Choice:
    """What the user wants loaded; deployq's own plugins are always, unless disabled.

    Args:
        allow: the plugins that may be loaded besides deployq's own; None: every one.
        disable: those that may not, deployq's own included.
        only_builtin: none but deployq's own.
        paths: files of the project's own plugins.
        folder: what their paths are shown relative to.
    """

    allow: tuple[str, ...] | None = None
    disable: tuple[str, ...] = ()
    only_builtin: bool = False
    paths: tuple[Path, ...] = ()
    folder: Path | None = None

    def reason_against(self, names: Iterable[str], builtin: bool) -> str:
        """Why a plugin of these names (its own, its distribution's) is left out; "": it isn't."""
        names = set(names)
        if names & set(self.disable):
            return "disabled by [plugins] disable"
        if builtin:
            return ""
        if self.only_builtin:
            return "only deployq's own plugins are wanted (--only-builtin)"
        if self.allow is not None and not names & set(self.allow):
            return "not on the list of DEPLOYQ_PLUGINS or [plugins] allow"
        return ""


def choice_of(settings: PluginSettings, folder: Path | None = None) -> Choice:
    """The choice that the settings make."""
    return Choice(settings.allow, settings.disable, settings.only_builtin, settings.paths, folder)
