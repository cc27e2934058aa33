"""From the names that the user typed to records: the model, and its targets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from deployq.addresses import canonical_url, url_of
from deployq.config import Config
from deployq.errors import ConfigError
from deployq.files import is_there
from deployq.pipeline.machine import (
    Measured,
    bandwidth_of,
    detect,
    main_hardware,
    stored_bandwidth,
)
from deployq.pipeline.session import Session
from deployq.plan.budgets import card_budgets, reserve_of, several
from deployq.records import dataclass
from deployq.setting_values import NAMED_SOURCES, nearest
from deployq.settings import ModelSettings, TargetSettings
from deployq.source.finding import is_part
from deployq.tags.names import alias
from deployq.types import Goal, Hardware, MemoryKind, Profiler, Serving, ServingRuntime, Target
from deployq.units import format_bytes

THIS_MACHINE = ("laptop", "local", "this")
DEFAULT_CONTEXT = 4096
SEVERAL_CARDS = re.compile(r"([1-9]\d?) ?[x×] ?(.+)")


@dataclass(frozen=True)
class Model:
    """A model to deploy: its name in tags, its source, its settings.

    `derived`: the name was made from the source's own, nobody chose it.
    """

    name: str
    source: Path
    settings: ModelSettings
    derived: bool = False


@dataclass(frozen=True)
class Overrides:
    """What the command line says of every target; None or empty: nothing.

    `imatrix` is the model's: "suite", a file, or "none". `locked`: of a model of the hub the
    revision that the lockfile has. `name` is the model's own in tags, of a source that is no model
    of the configuration.
    """

    quants: tuple[str, ...] = ()
    goal: Goal | None = None
    n_ctx: int | None = None
    cache_type: str | None = None
    parallel: int | None = None
    memory_bytes: int | None = None
    kind: MemoryKind | None = None
    imatrix: str | None = None
    base: Path | None = None
    allow: tuple[str, ...] = ()
    locked: bool = False
    name: str | None = None


def with_overrides(model: Model, overrides: Overrides) -> Model:
    """The model with what the command line says of it.

    Raises:
        ConfigError: a name that no server takes, or for a model that has one.
    """
    settings, name = model.settings, overrides.name
    if name is not None and not model.derived:
        raise ConfigError(
            f"--name {name}: the model {model.name} has its name from the configuration",
            hint=f"rename [models.{model.name}] there",
        )
    if name is not None:
        alias(name, "laptop")  # refuses what Ollama would
    return replace(
        model,
        name=name or model.name,
        derived=model.derived and name is None,
        settings=replace(
            settings,
            base=overrides.base or settings.base,
            allow=(*settings.allow, *overrides.allow),
        ),
    )


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
    if name.startswith(NAMED_SOURCES):
        return Model(model_name(Path(_bare(name))), Path(name), ModelSettings(), derived=True)
    path = Path(name).expanduser()
    if not is_there(path):
        known = nearest(name, config.models) if config.models else ""
        raise ConfigError(
            f"there is no model {name!r}: neither in {_shown(config)} nor as a file{known}",
            hint="deployq config shows the models that are known",
        )
    return Model(model_name(path), path, ModelSettings(), derived=True)


def _bare(name: str) -> str:
    """`hf:org/name@revision` -> `name`; `ollama:name:tag` -> `name`."""
    text = name.partition(":")[2].partition("@")[0].partition(":")[0]
    folder, _, last = text.rpartition("/")
    named = folder.count("/") > 0 and is_part(last)
    return (folder.rpartition("/")[2] if named else last) or "model"


def model_name(path: Path) -> str:
    """A name for tags from a path: `Task-API.F16.gguf` -> `task-api`."""
    return re.sub(r"[^a-z0-9._-]+", "-", own_name(path).lower()).strip("-._")[:80] or "model"


def own_name(path: Path) -> str:
    """A source's own name, less its format, precision and part: `Task-API.F16.gguf` -> `Task-API`.

    A file of a model or an adapter stands for its folder.
    """
    place = path.resolve()
    name = place.parent.name if is_part(place.name) and not place.is_dir() else place.name
    stem = re.sub(r"\.gguf$", "", name, flags=re.IGNORECASE)
    stem = re.sub(r"-\d{5}-of-\d{5}$", "", stem)
    return re.sub(r"[-._](f16|f32|bf16|fp16)$", "", stem, flags=re.IGNORECASE)


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
    runtime = session.runtimes().get(session.config.runtime.name)
    serving = runtime.serving() if isinstance(runtime, ServingRuntime) else None
    known = _Known(session.config, session.profilers(), stored_bandwidth(session), serving)
    found = [_target(known, name, model, overrides, n_ctx_train) for name in dict.fromkeys(names)]
    spelled: dict[str, str] = {}  # one server is served once, however targets spell its address
    return tuple(
        replace(target, host=spelled.setdefault(canonical_url(target.host), target.host))
        if target.host
        else target
        for target in found
    )


@dataclass(frozen=True)
class _Known:
    """What says which machine a name means, and what is known of this one.

    `measured` is its bandwidth, `serving` how the default server runs models.
    """

    config: Config
    profilers: Mapping[str, Profiler]
    measured: Measured | None
    serving: Serving | None

    def is_this_machine(self, name: str) -> bool:
        return name in THIS_MACHINE or name in self.profilers


def _target(
    known: _Known, name: str, model: Model, overrides: Overrides, n_ctx_train: int | None
) -> Target:
    settings = known.config.targets.get(name)
    hardware = _hardware(known, name, settings, overrides)
    settings = settings or TargetSettings()
    here = known.is_this_machine(settings.preset or name)
    quants = overrides.quants or settings.quants or model.settings.quants
    goal = overrides.goal or settings.goal or model.settings.goal
    target = Target(
        name=name,
        kind=hardware.kind,
        memory_bytes=hardware.memory_bytes,
        reserve_bytes=_reserve(name, settings, hardware),
        n_ctx=overrides.n_ctx or settings.context or default_context(model.settings, n_ctx_train),
        cache_type=overrides.cache_type or settings.cache_type or "f16",
        goal=goal or "balanced",
        goal_given=goal is not None,
        quants=quants,
        host=url_of(settings.host) if settings.host else None,
        origin=hardware.source,
        bandwidth=bandwidth_of(hardware, known.measured if here else None),
        cards=card_budgets(hardware, settings.reserve),
        drafts=_drafts(settings, model),
        serving=_serving(known, settings, model, overrides),
    )
    return target.within(n_ctx_train)


def _drafts(settings: TargetSettings, model: Model) -> bool:
    asked = {**model.settings.parameters, **settings.parameters}.get("draft_num_predict")
    return isinstance(asked, int) and asked > 0


def _serving(
    known: _Known, settings: TargetSettings, model: Model, overrides: Overrides
) -> Serving:
    """How the target's server runs the model: as said, else as the default server is known to."""
    serving = (None if settings.host else known.serving) or Serving()
    if parallel := overrides.parallel or settings.parallel:
        serving = replace(serving, parallel=parallel, parallel_by="given")
    if settings.flash_attention is not None:
        serving = replace(serving, flash_attention=settings.flash_attention)
    num_batch = {**model.settings.parameters, **settings.parameters}.get("num_batch")
    if isinstance(num_batch, int) and num_batch > 0:
        serving = replace(serving, num_batch=num_batch)
    return serving


def _hardware(
    known: _Known, name: str, settings: TargetSettings | None, overrides: Overrides
) -> Hardware:
    """What the named machine has, with as many cards as its settings say.

    Raises:
        ConfigError: nobody knows its memory, or it can't have several cards.
    """
    count = (settings and settings.cards) or 1
    machine = _one_machine(known, name, settings, overrides)
    if count > 1 and (machine.kind != "vram" or len(machine.cards) > 1):
        is_what = f"{machine.name} has {len(machine.cards)} already"
        if machine.kind != "vram":
            is_what = f"{machine.name} is of the kind {machine.kind!r}, which has no cards"
        raise ConfigError(
            f"target {name!r} says cards = {count}, but {is_what}",
            hint=f'cards goes with one card: preset = "4090", or memory and kind = "vram", under '
            f"[targets.{name}]",
        )
    return several(machine, count)


def _one_machine(
    known: _Known, name: str, settings: TargetSettings | None, overrides: Overrides
) -> Hardware:
    """The named machine: what was said of it wins over the preset or the profiler."""
    memory = _stated_memory(name, settings, overrides)
    kind = overrides.kind or (settings and settings.kind) or None
    found = _known_hardware((settings and settings.preset) or name, known.profilers)
    if memory is not None:
        return _stated(name, memory, kind, found)
    if found is not None:
        if kind in (None, found.kind):
            return found
        return replace(found, kind=kind, reserve_bytes=None, cards=())
    if settings is None:
        names = [*known.config.targets, *preset_names(known.profilers), *THIS_MACHINE]
        raise ConfigError(
            f"there is no target {name!r} in {_shown(known.config)}, and no machine is known by "
            f"that name{nearest(name, names)}",
            hint=f'write it down: [targets.{name}] with memory = "16GB" and kind = "ram"; '
            "deployq profile --presets lists the machines that are known",
        )
    asked = f"; {settings.host} can't be asked for it" if settings.host else ""
    raise ConfigError(
        f"nothing says how much memory the target {name!r} has{asked}",
        hint=f'write memory = "16GB", or preset = "4090", under [targets.{name}] in '
        f"{_shown(known.config)}",
    )


def _stated_memory(name: str, settings: TargetSettings | None, overrides: Overrides) -> int | None:
    """The memory that somebody wrote down.

    Raises:
        ConfigError: it is none.
    """
    memory = overrides.memory_bytes
    if memory is None and settings is not None:
        memory = settings.memory
    if memory is not None and memory <= 0:
        raise ConfigError(
            f"target {name!r}: its memory is {format_bytes(memory)}, a machine has more than that",
            hint="write it as 16GB (10^9) or 16GiB (2^30)",
        )
    return memory


def _stated(name: str, memory: int, kind: MemoryKind | None, found: Hardware | None) -> Hardware:
    """A machine with the memory that was written down, the rest as it is known."""
    base = found or Hardware(name, "ram", memory)
    return Hardware(
        name,
        kind or base.kind,
        memory,
        bandwidth_bytes_per_second=base.bandwidth_bytes_per_second,
        source="given",
    )


def _reserve(name: str, settings: TargetSettings, hardware: Hardware) -> int:
    """What the machine keeps for itself: as said, else by the rule.

    Raises:
        ConfigError: nothing is left for a model.
    """
    if settings.reserve is None:
        return reserve_of(hardware)
    budgets = card_budgets(hardware, settings.reserve)
    reserve = hardware.memory_bytes - sum(budgets) if budgets else settings.reserve
    if reserve >= hardware.memory_bytes:
        raise ConfigError(
            f"target {name!r} keeps {format_bytes(reserve)} of its "
            f"{format_bytes(hardware.memory_bytes)} for itself: nothing is left for a model",
            hint=f"write a smaller reserve under [targets.{name}]",
        )
    return reserve


def _known_hardware(name: str, profilers: Mapping[str, Profiler]) -> Hardware | None:
    """A preset of that name, this machine if it is called so, or what one profiler finds.

    "2x4090" are two cards of the preset "4090".
    """
    if preset := _preset(name.lower(), profilers):
        return preset
    if (parts := SEVERAL_CARDS.fullmatch(name.lower())) and (card := _preset(parts[2], profilers)):
        return several(card, int(parts[1])) if card.kind == "vram" else None
    if name in THIS_MACHINE:
        return main_hardware(detect(profilers.values()))
    return profilers[name].detect() if name in profilers else None


def _preset(name: str, profilers: Mapping[str, Profiler]) -> Hardware | None:
    presets = (profiler.presets().get(name) for profiler in profilers.values())
    return next((preset for preset in presets if preset is not None), None)


def preset_names(profilers: Mapping[str, Profiler]) -> list[str]:
    return [name for profiler in profilers.values() for name in profiler.presets()]


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
