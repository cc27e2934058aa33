"""What one command works with: configuration, plugins, folders, and who is told of progress."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import TypeVar, cast

from deployq.config import Config
from deployq.digests import DigestCache
from deployq.plugins import Named, Plugins, choice_of, load_plugins, never
from deployq.records import dataclass
from deployq.types import (
    Backend,
    Completer,
    Converter,
    Engine,
    Judge,
    Profiler,
    Progress,
    Runtime,
    no_progress,
)

N = TypeVar("N", bound=Named)


def _silent(text: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Session:
    """Made once per command and handed down.

    `talk` gets one-line messages for a person (stderr); `progress` gets the progress of work.
    """

    config: Config
    plugins: Plugins
    env: Mapping[str, str]
    progress: Progress = no_progress
    talk: Callable[[str], None] = _silent
    _said: set[str] = field(default_factory=set, compare=False, repr=False)

    def talk_once(self, text: str) -> None:
        """Say it, unless this command said it already."""
        if text not in self._said:
            self._said.add(text)
            self.talk(text)

    @property
    def cache_dir(self) -> Path:
        """`cache` of the configuration, else `$XDG_CACHE_HOME/deployq`."""
        base = self.env.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return self.config.paths.cache or Path(base) / "deployq"

    @property
    def runtime_dir(self) -> Path:
        """Where the managed and the embedded runtime keep their models."""
        base = self.env.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
        return (self.config.runtime.dir or Path(base) / "deployq") / self.config.runtime.name

    @property
    def runs_dir(self) -> Path:
        return self.config.paths.runs or self.config.folder / ".deployq" / "runs"

    @property
    def lockfile(self) -> Path:
        return self.config.paths.lockfile or self.config.folder / "deployq.lock"

    @property
    def digests(self) -> DigestCache:
        return DigestCache(self.cache_dir / "digests")

    def backends(self) -> dict[str, Backend]:
        return cast("dict[str, Backend]", self.plugins.named("deployq_backends"))

    def engines(self) -> dict[str, Engine]:
        return cast("dict[str, Engine]", self.plugins.named("deployq_engines"))

    def completers(self, format: str) -> dict[str, Completer]:
        """Those that continue from a GGUF file ("gguf"), or from a folder ("huggingface")."""
        brought = cast("dict[str, Completer]", self.plugins.named("deployq_completers"))
        return {n: one for n, one in brought.items() if getattr(one, "format", "gguf") == format}

    def converters(self) -> dict[str, Converter]:
        return cast("dict[str, Converter]", self.plugins.named("deployq_converters"))

    def judges(self) -> dict[str, Judge]:
        return cast("dict[str, Judge]", self.plugins.named("deployq_judges"))

    def profilers(self) -> dict[str, Profiler]:
        return cast("dict[str, Profiler]", self.plugins.named("deployq_profilers"))

    def runtimes(self) -> dict[str, Runtime]:
        return cast("dict[str, Runtime]", self.plugins.named("deployq_runtimes"))


def variable_of(backend: str, key: str) -> str:
    """The variable that tells a backend a setting of `[backends.NAME]`."""
    return f"DEPLOYQ_{re.sub('[^A-Z0-9]', '_', backend.upper())}_{key.upper()}"


def open_session(
    config: Config,
    *,
    progress: Progress = no_progress,
    talk: Callable[[str], None] = _silent,
    plugins: Plugins | None = None,
    alarm: Callable[[str], None] | None = None,
    ask: Callable[[str], bool] = never,
) -> Session:
    """A session over the process's environment.

    Args:
        config: of the command.
        progress: is told of work.
        talk: gets sentences for people.
        plugins: default: those that the configuration lets in.
        alarm: gets a sentence about a plugin that takes long; default: `talk`.
        ask: asks a person whether a plugin of the project may be run.

    Settings that plugins and child processes need reach them through the environment, which is
    where they look for them; a variable that is set already wins.
    """
    exported = {
        "DEPLOYQ_LLAMA_CPP": config.tools.llama_cpp,
        "DEPLOYQ_TOOLS_DIR": config.tools.dir,
        "DEPLOYQ_CONVERT_PYTHON": config.tools.convert_python,
        "DEPLOYQ_OLLAMA": config.runtime.ollama,
        "DEPLOYQ_CACHE_DIR": config.paths.cache,
    }
    for name, value in exported.items():
        if value is not None:
            os.environ[name] = str(value)
    for backend, settings in config.backends.items():
        for key in ("python", "mode"):
            if value := getattr(settings, key):
                os.environ.setdefault(variable_of(backend, key), value)
    choice = choice_of(config.plugins, config.folder)
    loaded = plugins or load_plugins(choice, say=talk, alarm=alarm, ask=ask)
    return Session(config, loaded, os.environ, progress, talk)
