"""A project's own plugins: files that deployq.toml names, run only after the user said yes.

The yes is for one path and one content; it is kept with the user's settings, never in a folder that
a project can bring along. What was read is what is run: no byte code, no second look at the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import types
from collections.abc import Mapping
from pathlib import Path

from deployq.errors import ConfigError, DiskError, PluginError
from deployq.files import write_whole
from deployq.plugins.late import Ask


class Allowed:
    """The files that the user said yes to, each by the sha256 of what stood in it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def has(self, path: Path, content: bytes) -> bool:
        return self._read().get(str(path.resolve())) == _digest(content)

    def add(self, path: Path, content: bytes) -> None:
        """Raises DiskError where it can't be remembered."""
        entries = {**self._read(), str(path.resolve()): _digest(content)}
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.file, json.dumps(entries, indent=2) + "\n")
        except OSError as exc:
            raise DiskError(f"{self.file} can't be written: {exc.strerror}") from exc

    def _read(self) -> dict[str, str]:
        """What is remembered; what can't be read allows nothing."""
        try:
            entries = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return entries if isinstance(entries, dict) else {}


def allowed_file(env: Mapping[str, str]) -> Path:
    """Where it is kept: `$XDG_CONFIG_HOME/deployq/allowed-plugins.json`."""
    base = env.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "deployq" / "allowed-plugins.json"


def allow(path: Path, env: Mapping[str, str] | None = None) -> str:
    """Remember the user's yes to a file as it is now; gives its digest.

    Raises:
        ConfigError: it is no Python file, or can't be read.
        DiskError: the yes can't be remembered.
    """
    content = read_plugin(path)
    Allowed(allowed_file(os.environ if env is None else env)).add(path, content)
    return _digest(content)


def read_plugin(path: Path) -> bytes:
    """The content of a project's plugin.

    Raises:
        ConfigError: it is no file of Python, or can't be read.
    """
    if path.is_dir() or path.suffix != ".py":
        raise ConfigError(
            f"{path} is no Python file: a project's own plugin is one .py file",
            hint="make a package of what is larger (deployq plugins new NAME) and install it",
        )
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"the plugin {path} can't be read: {exc.strerror}") from exc


def load_local(path: Path, shown: str, ask: Ask) -> types.ModuleType:
    """A project's plugin, run if the user said yes to it, or says so now.

    Raises:
        ConfigError: it can't be read.
        PluginError: nobody said yes.
        BaseException: whatever its code raises.
    """
    content = read_plugin(path)
    known = Allowed(allowed_file(os.environ))
    if not known.has(path, content):
        if not ask(
            f"deployq.toml wants to run the plugin {shown} (sha256 {_digest(content)[:12]}), "
            "which can do all that you can. Run it, now and as long as it stays as it is?"
        ):
            raise PluginError(
                "nobody has said yes to running this file as it is now",
                hint=f"read it, then: deployq plugins allow {shown}",
            )
        known.add(path, content)
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    exec(compile(content, str(path), "exec"), module.__dict__)  # noqa: S102  (the user said yes)
    return module


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
