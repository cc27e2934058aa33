"""From the names that the user typed to records: the model, and its targets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deployq.config import Config
from deployq.errors import ConfigError
from deployq.pipeline.session import Session
from deployq.settings import ModelSettings, TargetSettings, nearest
from deployq.types import Goal, Hardware, MemoryKind, Profiler, Target

THIS_MACHINE = ("laptop", "local", "this")
DEFAULT_CONTEXT = 4096

# Driver and CUDA context, 107 to 555 MiB as seen on NVIDIA cards, and a little for the desktop.
VRAM_RESERVE_BYTES = 800 * 10**6
# A system with its programs open; the usual advice is 4 to 6 GB.
RAM_RESERVE_BYTES = 5 * 10**9
# Metal's recommendedMaxWorkingSetSize: about 2/3 up to 36 GB, 3/4 above.
UNIFIED_SMALL_BYTES = 36 * 2**30


@dataclass(frozen=True)
class Model:
    """A model to deploy: its name in tags, its source, its settings."""

    name: str
    source: Path
    settings: ModelSettings


@dataclass(frozen=True)
class Overrides:
    """What the command line says of every target; None or empty: nothing."""

    quants: tuple[str, ...] = ()
    goal: Goal | None = None
    n_ctx: int | None = None
    cache_type: str | None = None
    memory_bytes: int | None = None
    kind: MemoryKind | None = None


def resolve_model(config: Config, name: str) -> Model:
    """The model of that name in the configuration, or the one at that path.

    Raises:
        ConfigError: there is neither; or the configuration names no source for it.
    """
    settings = config.models.get(name)
    if settings is not None:
        if settings.source is None:
            raise ConfigError(
                f"models.{name} has no source",
                hint=f'write source = "PATH" under [models.{name}] in {_shown(config)}',
            )
        return Model(name, settings.source, settings)
    path = Path(name).expanduser()
    if not path.exists():
        known = nearest(name, config.models) if config.models else ""
        raise ConfigError(
            f"there is no model {name!r}: neither in {_shown(config)} nor as a file{known}",
            hint="deployq config shows the models that are known",
        )
    return Model(model_name(path), path, ModelSettings())


def model_name(path: Path) -> str:
    """A name for tags from a path: `Task-API.F16.gguf` -> `task-api`."""
    stem = path.resolve().name.removesuffix(".gguf")
    stem = re.sub(r"-\d{5}-of-\d{5}$", "", stem)
    stem = re.sub(r"[-._](f16|f32|bf16|fp16)$", "", stem, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:80] or "model"


def resolve_targets(
    session: Session,
    names: Sequence[str],
    model: Model,
    overrides: Overrides,
    n_ctx_train: int | None,
) -> tuple[Target, ...]:
    """The targets of these names, nothing left to default.

    Without names: every target of the configuration, else this machine; with `memory_bytes` in
    the overrides and no names, one made up of the overrides alone.

    Raises:
        ConfigError: an unknown name, or a target whose memory nobody knows.
    """
    if not names:
        made_up = overrides.memory_bytes is not None
        names = ("machine",) if made_up else tuple(session.config.targets) or THIS_MACHINE[:1]
    profilers = session.profilers().values()
    return tuple(
        _target(session.config, name, model, overrides, n_ctx_train, profilers)
        for name in dict.fromkeys(names)
    )


def _target(
    config: Config,
    name: str,
    model: Model,
    overrides: Overrides,
    n_ctx_train: int | None,
    profilers: Iterable[Profiler],
) -> Target:
    settings = config.targets.get(name)
    hardware = _hardware(config, name, settings, overrides, profilers)
    settings = settings or TargetSettings()
    quants = overrides.quants or settings.quants or model.settings.quants
    goal = overrides.goal or settings.goal or model.settings.goal
    reserve = settings.reserve
    if reserve is None:
        reserve = default_reserve(hardware.kind, hardware.memory_bytes)
    return Target(
        name=name,
        kind=hardware.kind,
        memory_bytes=hardware.memory_bytes,
        reserve_bytes=reserve,
        n_ctx=overrides.n_ctx or settings.context or default_context(model.settings, n_ctx_train),
        cache_type=overrides.cache_type or settings.cache_type or "f16",
        goal=goal or "balanced",
        goal_given=goal is not None,
        quants=quants,
        host=settings.host,
        origin=hardware.source,
    )


def _hardware(
    config: Config,
    name: str,
    settings: TargetSettings | None,
    overrides: Overrides,
    profilers: Iterable[Profiler],
) -> Hardware:
    """What the named machine has: what was said of it wins over the preset or the profiler."""
    memory = overrides.memory_bytes or (settings and settings.memory)
    kind = overrides.kind or (settings and settings.kind) or None
    known = _known_hardware((settings and settings.preset) or name, profilers)
    if memory:
        base = known or Hardware(name, "ram", memory)
        return replace(base, name=name, memory_bytes=memory, kind=kind or base.kind, source="given")
    if known is not None:
        return replace(known, kind=kind or known.kind)
    if settings is None:
        raise ConfigError(
            f"there is no target {name!r} in {_shown(config)}, and no machine is known by that "
            f"name{nearest(name, [*config.targets, *_preset_names(profilers), *THIS_MACHINE])}",
            hint=f'write it down: [targets.{name}] with memory = "16GB" and kind = "ram"',
        )
    raise ConfigError(
        f"nothing says how much memory the target {name!r} has",
        hint=f'write memory = "16GB" under [targets.{name}] in {_shown(config)}',
    )


def _known_hardware(name: str, profilers: Iterable[Profiler]) -> Hardware | None:
    """A preset of that name, or this machine if it is called so."""
    for profiler in profilers:
        if preset := profiler.presets().get(name.lower()):
            return preset
    if name in THIS_MACHINE:
        detected = [hardware for p in profilers if (hardware := p.detect())]
        # A GPU's memory is what counts where there is one; the RAM profiler always answers.
        return next((h for h in detected if h.kind != "ram"), detected[0] if detected else None)
    return None


def _preset_names(profilers: Iterable[Profiler]) -> list[str]:
    return [name for profiler in profilers for name in profiler.presets()]


def default_reserve(kind: MemoryKind, memory_bytes: int) -> int:
    """Bytes that a machine keeps for itself, where the user says nothing."""
    if kind == "vram":
        return min(VRAM_RESERVE_BYTES, memory_bytes // 4)
    if kind == "unified":
        return memory_bytes // 3 if memory_bytes <= UNIFIED_SMALL_BYTES else memory_bytes // 4
    return min(RAM_RESERVE_BYTES, memory_bytes // 2)


def default_context(settings: ModelSettings, n_ctx_train: int | None) -> int:
    """The model's own `num_ctx`, else 4096, never more than it was trained with."""
    asked = settings.parameters.get("num_ctx")
    if isinstance(asked, int):
        return asked
    return min(DEFAULT_CONTEXT, n_ctx_train or DEFAULT_CONTEXT)


def _shown(config: Config) -> str:
    return config.file.name if config.file else "deployq.toml (there is none here)"


def target_settings(config: Config, name: str) -> TargetSettings:
    """The settings of a target, or those of one that says nothing."""
    return config.targets.get(name) or TargetSettings()
