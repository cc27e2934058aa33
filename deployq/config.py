"""deployq.toml: parse (pure), load, show. Unknown keys are errors that name the nearest right one.

Precedence: option, environment, file, default. The keys themselves stand in settings.py.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import Field, field, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from deployq.errors import ConfigError
from deployq.records import dataclass
from deployq.setting_values import nearest
from deployq.settings import (
    BackendSettings,
    GateSettings,
    ModelSettings,
    PathSettings,
    PluginSettings,
    RuntimeSettings,
    TagSettings,
    TargetSettings,
    ToolSettings,
)

CONFIG_NAME = "deployq.toml"
NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"

S = TypeVar("S")


@dataclass(frozen=True)
class Config:
    """A whole deployq.toml; `origins` says for each set dotted key where its value came from."""

    folder: Path
    file: Path | None = None
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    targets: Mapping[str, TargetSettings] = field(default_factory=dict)
    backends: Mapping[str, BackendSettings] = field(default_factory=dict)
    tools: ToolSettings = field(default_factory=ToolSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    tags: TagSettings = field(default_factory=TagSettings)
    plugins: PluginSettings = field(default_factory=PluginSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    paths: PathSettings = field(default_factory=PathSettings)
    origins: Mapping[str, str] = field(default_factory=dict)


SECTIONS: Mapping[str, type] = {
    "tools": ToolSettings,
    "runtime": RuntimeSettings,
    "tags": TagSettings,
    "plugins": PluginSettings,
    "gate": GateSettings,
}
NAMED_SECTIONS: Mapping[str, type] = {
    "models": ModelSettings,
    "targets": TargetSettings,
    "backends": BackendSettings,
}


# ---------------------------------------------------------------- parse


def parse_config(text: str, folder: Path, file: Path | None = None) -> Config:
    """A Config from the text of a deployq.toml; nothing is read from disk.

    Raises:
        ConfigError: no TOML, an unknown key, a value of the wrong kind; the key's path is named.
    """
    shown = file.name if file else CONFIG_NAME
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as exc:  # of numbers of thousands of digits, and [[[[[
        raise ConfigError(f"{shown} is not valid TOML: {exc}") from exc
    origins: dict[str, str] = {}
    reader = _Reader(folder, shown, origins)
    top = {key: value for key, value in document.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in document.items() if isinstance(value, dict)}
    known = (*SECTIONS, *NAMED_SECTIONS)
    for name in tables:
        if name not in known:
            raise ConfigError(f"{shown}: unknown table [{name}]{nearest(name, known)}")
    return Config(
        folder=folder,
        file=file,
        paths=reader.record(PathSettings, top, ""),
        models=reader.models(tables.get("models", {})),
        targets=reader.named(TargetSettings, tables.get("targets", {}), "targets"),
        backends=reader.named(BackendSettings, tables.get("backends", {}), "backends"),
        tools=reader.record(ToolSettings, tables.get("tools", {}), "tools"),
        runtime=reader.record(RuntimeSettings, tables.get("runtime", {}), "runtime"),
        tags=reader.record(TagSettings, tables.get("tags", {}), "tags"),
        plugins=reader.record(PluginSettings, tables.get("plugins", {}), "plugins"),
        gate=reader.record(GateSettings, tables.get("gate", {}), "gate"),
        origins=origins,
    )


@dataclass(frozen=True)
class _Reader:
    """Turns TOML tables into settings records, noting where each value came from."""

    folder: Path
    shown: str
    origins: dict[str, str]

    def named(self, cls: type[S], tables: Mapping[str, Any], section: str) -> dict[str, S]:
        found = {}
        for name, table in tables.items():
            where = f"{section}.{name}"
            if not isinstance(table, dict):
                raise ConfigError(f"{self.shown}: {where} must be a table: [{where}]")
            if not re.fullmatch(NAME, name):
                raise ConfigError(
                    f"{self.shown}: {name!r} can't be part of an Ollama name: letters, digits, "
                    "'_', '-' and '.', at most 80"
                )
            found[name] = self.record(cls, table, where)
        return found

    def models(self, tables: Mapping[str, Any]) -> dict[str, ModelSettings]:
        """The models; a server would take names that differ in letter case alone for one."""
        seen: dict[str, str] = {}
        for name in tables:
            other = seen.setdefault(name.lower(), name)
            if other != name:
                raise ConfigError(
                    f"{self.shown}: models {other!r} and {name!r} would get the same tags: "
                    "a server ignores letter case",
                    hint="give one of them another name",
                )
        return self.named(ModelSettings, tables, "models")

    def record(self, cls: type[S], table: Mapping[str, Any], where: str) -> S:
        options = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
        values = {}
        for key, value in table.items():
            path = f"{where}.{key}" if where else key
            if key not in options:
                raise ConfigError(f"{self.shown}: unknown key {path}{nearest(key, options)}")
            try:
                values[key] = options[key].metadata["convert"](value, self.folder)
            except ConfigError as exc:
                raise ConfigError(f"{self.shown}: {path}: {exc.message}", hint=exc.hint) from exc
            self.origins[path] = self.shown
        return cls(**values)


# ---------------------------------------------------------------- load


def find_config(start: Path, env: Mapping[str, str]) -> Path | None:
    """The deployq.toml that counts: `DEPLOYQ_CONFIG`, else that of `start` or of its parents."""
    if named := env.get("DEPLOYQ_CONFIG"):
        return Path(named)
    start = start.resolve()
    return next(
        (d / CONFIG_NAME for d in (start, *start.parents) if (d / CONFIG_NAME).is_file()), None
    )


def load_config(file: Path | None, env: Mapping[str, str], start: Path | None = None) -> Config:
    """Read a deployq.toml (None: the one that is found, or none at all), then lay `env` over it.

    Raises:
        ConfigError: the named file can't be read, or has a mistake.
    """
    folder = start or Path.cwd()
    found = file or find_config(folder, env)
    if found is None:
        return with_environment(Config(folder=folder), env)
    try:
        text = found.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise ConfigError(f"cannot read the configuration {found}: {why}") from exc
    return with_environment(parse_config(text, found.resolve().parent, found), env)


def with_environment(config: Config, env: Mapping[str, str]) -> Config:
    """The config with every set environment variable of its options laid over it."""
    changed: dict[str, Any] = {}
    origins = dict(config.origins)
    for section in ("paths", *SECTIONS):
        record = getattr(config, section)
        for option_ in fields(record):
            name = option_.metadata["env"]
            if name and (value := env.get(name)):
                record = replace_option(record, option_.name, value, Path.cwd(), f"${name}")
                origins[_dotted(section, option_.name)] = f"environment {name}"
        changed[section] = record
    return dataclasses.replace(config, **changed, origins=origins)


def with_option(config: Config, section: str, key: str, value: Any, shown: str) -> Config:
    """The config with a command-line option laid over it; `shown` is the option's name."""
    record = replace_option(getattr(config, section), key, value, Path.cwd(), shown)
    origins = {**config.origins, _dotted(section, key): f"option {shown}"}
    return dataclasses.replace(config, **{section: record}, origins=origins)


def replace_option(record: S, key: str, value: Any, folder: Path, shown: str) -> S:
    """A settings record with one value replaced, converted as from the file."""
    convert = next(f for f in fields(record) if f.name == key).metadata["convert"]  # type: ignore[arg-type]
    try:
        return dataclasses.replace(record, **{key: convert(value, folder)})  # type: ignore[type-var]
    except ConfigError as exc:
        raise ConfigError(f"{shown}: {exc.message}", hint=exc.hint) from exc


def _dotted(section: str, key: str) -> str:
    return key if section == "paths" else f"{section}.{key}"


# ---------------------------------------------------------------- show


class Setting(NamedTuple):
    """One value as `deployq config` shows it."""

    key: str
    value: Any
    origin: str
    text: str


def settings(config: Config) -> list[Setting]:
    """Every value that counts, and where it came from."""
    found: list[Setting] = []
    for section in ("paths", *SECTIONS):
        record = getattr(config, section)
        for f in fields(record):
            found += _settings(config, _dotted(section, f.name), getattr(record, f.name), f)
    for section in NAMED_SECTIONS:
        for name, record in getattr(config, section).items():
            for f in fields(record):
                found += _settings(config, f"{section}.{name}.{f.name}", getattr(record, f.name), f)
    return found


def _settings(config: Config, key: str, value: Any, of: Field[Any]) -> Iterator[Setting]:
    """A value, or those of a table inside a table, each with its own origin or the table's."""
    if not is_dataclass(value):
        origin = config.origins.get(key) or config.origins.get(key.rpartition(".")[0], "default")
        yield Setting(key, value, origin, of.metadata["help"])
        return
    for f in fields(value):
        yield from _settings(config, f"{key}.{f.name}", getattr(value, f.name), f)
