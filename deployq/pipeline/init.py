"""A first deployq.toml: look at the folder and at this machine, and write down what was found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import tomli_w

from deployq.config import NAMED_SECTIONS, SECTIONS, parse_config
from deployq.errors import DeployqError
from deployq.pipeline.checks import all_checks
from deployq.pipeline.machine import detect, main_hardware
from deployq.pipeline.resolve import Model, model_name
from deployq.pipeline.session import Session
from deployq.pipeline.sources import STOPS, find_origin
from deployq.proof.suites import load_suite
from deployq.records import dataclass
from deployq.settings import ModelSettings, PathSettings
from deployq.source.inspect import inspect
from deployq.types import Goal, Hardware
from deployq.units import format_bytes

DEPTH = 2
"""Folders below the given one that are looked into."""

_WIDTH = 44
_RULE = "# " + "-" * 66 + " "
_SKIPPED = (".git", ".venv", "venv", "node_modules", "__pycache__", ".deployq")


@dataclass(frozen=True)
class FoundModel:
    """Something in the folder that looks like a model; `problem`: why it can't be used as it is."""

    name: str
    path: Path
    detail: str
    problem: str = ""


@dataclass(frozen=True)
class Scene:
    """What `init` sees: models (usable ones first), suites, this machine, the runtime to use."""

    folder: Path
    models: tuple[FoundModel, ...]
    suites: tuple[Path, ...]
    machine: Hardware | None
    runtime: str
    presets: tuple[str, ...]

    @property
    def usable(self) -> tuple[FoundModel, ...]:
        return tuple(model for model in self.models if not model.problem)


@dataclass(frozen=True)
class Answers:
    """What goes into the file."""

    model: FoundModel | None
    suite: Path | None
    goal: Goal = "balanced"
    presets: tuple[str, ...] = ()


def look(session: Session, folder: Path) -> Scene:
    """Look at a folder and at this machine; only headers are read."""
    models = sorted(
        _models(session, folder), key=lambda model: (bool(model.problem), str(model.path))
    )
    profilers = session.profilers().values()
    return Scene(
        folder=folder,
        models=tuple(models),
        suites=tuple(_suites(session, folder)),
        machine=main_hardware(detect(profilers)),
        runtime=_runtime(session),
        presets=tuple(name for profiler in profilers for name in profiler.presets()),
    )


def config_text(scene: Scene, answers: Answers) -> str:
    """A commented deployq.toml; every setting stands in it, those that are not set as comments.

    Raises:
        ConfigError: what was answered makes no valid configuration.
    """
    text = "\n".join(_lines(scene, answers)) + "\n"
    parse_config(text, scene.folder)
    return text


# ---------------------------------------------------------------- looking


def _models(session: Session, folder: Path) -> Iterator[FoundModel]:
    seen: set[Path] = set()
    for path in _walk(folder, DEPTH):
        if path.suffix == ".gguf" and not path.name.startswith("mmproj"):
            found = _gguf(path)
            if found.path not in seen:
                seen.add(found.path)
                yield found
        elif path.name == "adapter_config.json":
            yield _trained(session, path.parent, "LoRA adapter")
        elif path.name == "config.json" and any(path.parent.glob("*.safetensors")):
            yield _trained(session, path.parent, "Hugging Face model")


def _trained(session: Session, folder: Path, what: str) -> FoundModel:
    """What a training left, if it can be pushed as it is."""
    name = model_name(folder)
    try:
        info = find_origin(session, Model(name, folder, ModelSettings())).info
    except DeployqError as exc:
        return FoundModel(name, folder, what, exc.message)
    stops = next((w for w in info.warnings if w.endswith(STOPS)), "")
    return FoundModel(name, folder, f"{what}, {info.architecture}, {info.dtype}", stops)


def _gguf(path: Path) -> FoundModel:
    """A GGUF; any part of a split one stands for the whole."""
    try:
        info = inspect(path)
    except DeployqError as exc:
        return FoundModel(model_name(path), path, "GGUF", exc.message)
    detail = f"{info.architecture}, {info.dtype}, {format_bytes(info.file_bytes)}"
    problem = f"quantized already ({info.dtype}): give its F16 original" if info.quantized else ""
    return FoundModel(model_name(path), info.path, detail, problem)


def _suites(session: Session, folder: Path) -> Iterator[Path]:
    checks = all_checks(session)
    for path in _walk(folder, DEPTH):
        if path.suffix not in (".toml", ".jsonl") or path.name == "deployq.toml":
            continue
        try:
            load_suite(path, checks)
        except DeployqError:
            continue
        yield path


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Files at most `depth` folders down, without linked, hidden and well-known large folders."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.is_dir():
            hidden = entry.name in _SKIPPED or entry.name.startswith(".")
            if depth and not hidden and not entry.is_symlink():
                yield from _walk(entry, depth - 1)
        else:
            yield entry


def _runtime(session: Session) -> str:
    """The first runtime that works here, a running Ollama before all others."""
    runtimes = session.runtimes()
    for name in ("ollama", "managed", "embedded"):
        if name in runtimes and runtimes[name].health().ok:
            return name
    return "ollama"


# ---------------------------------------------------------------- writing


def _lines(scene: Scene, answers: Answers) -> Iterator[str]:
    yield "# deployq.toml, written by `deployq init`. To set a key, take away the # in front of it."
    yield '# Sizes carry their unit: "16GB" is 16 * 10^9 bytes, "16GiB" 16 * 2^30.'
    yield "# Relative paths are relative to this file."
    yield ""
    yield from _keys(PathSettings, {})
    yield ""
    yield f"{_RULE}models: what was trained"
    yield from _model_lines(scene, answers)
    yield ""
    yield f"{_RULE}targets: the machines"
    yield from _target_lines(scene, answers)
    yield ""
    yield f"{_RULE}this machine"
    for section, record in SECTIONS.items():
        yield ""
        yield f"[{section}]"
        values = {"name": scene.runtime} if section == "runtime" else {}
        yield from _keys(record, values)
    yield ""
    yield "[backends.unsloth]"
    yield from _keys(NAMED_SECTIONS["backends"], {})


def _model_lines(scene: Scene, answers: Answers) -> Iterator[str]:
    model = answers.model
    for other in scene.models:
        if other is not model:
            why = other.problem or "another model that could stand here"
            yield f"# found: {_one_line(_relative(other.path, scene.folder))} ({_one_line(why)})"
    yield ""
    if model is None:
        yield "# [models.my-model]"
        yield from _keys(NAMED_SECTIONS["models"], {})
        return
    values: dict[str, Any] = {"source": _relative(model.path, scene.folder), "goal": answers.goal}
    if answers.suite is not None:
        values["suite"] = _relative(answers.suite, scene.folder)
    yield f"[models.{_key(model.name)}]"
    yield from _keys(NAMED_SECTIONS["models"], values)


def _target_lines(scene: Scene, answers: Answers) -> Iterator[str]:
    yield ""
    if scene.machine is not None:
        memory = f"{format_bytes(scene.machine.memory_bytes)} {scene.machine.kind}"
        yield f"# this machine, {memory} (looked at anew by every plan)"
    yield "[targets.laptop]"
    yield from _keys(NAMED_SECTIONS["targets"], {})
    for preset in answers.presets:
        yield ""
        yield f"[targets.{_key(preset)}]"
        yield f"{_pair('preset', preset):<{_WIDTH}} # a well-known machine"


def _keys(record: type, values: Mapping[str, Any]) -> Iterator[str]:
    """A line per setting: what is set, else its sample as a comment; behind it what it is for."""
    for option in fields(record):
        if option.name in values:
            line = _pair(option.name, values[option.name])
        else:
            line = f"# {option.name} = {option.metadata['sample']}"
        yield f"{line:<{_WIDTH}} # {option.metadata['help']}"


def _pair(key: str, value: Any) -> str:
    return tomli_w.dumps({key: value}).strip()


def _key(name: str) -> str:
    """A name as a TOML key."""
    return tomli_w.dumps({name: 0}).rpartition(" = ")[0]


def _relative(path: Path, folder: Path) -> str:
    try:
        return path.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        return str(path.resolve())


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def choose_presets(words: Iterable[str], known: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Which of `words` are known machines, and those that are none."""
    names = [word.strip().lower() for word in words if word.strip()]
    return (
        tuple(dict.fromkeys(name for name in names if name in known)),
        [name for name in names if name not in known],
    )
