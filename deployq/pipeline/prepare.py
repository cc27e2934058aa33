"""From a model and its targets to a plan; nothing is built and no server is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from deployq import pipeline
from deployq.artifacts.store import ArtifactStore, artifact_key
from deployq.digests import sha256_bytes
from deployq.errors import BackendError, ToolMissing
from deployq.pipeline.conversion import (
    as_gguf,
    conversion_steps,
    converted,
    named_merger,
    with_projector,
)
from deployq.pipeline.fetched import Reach
from deployq.pipeline.judging import Asked, able_judges, ask_size, differences, judge_plan
from deployq.pipeline.matrices import header_bytes, uses_imatrix, with_imatrix
from deployq.pipeline.naming import find_owner, name_conflict
from deployq.pipeline.preflight import require_sound
from deployq.pipeline.render import require_values
from deployq.pipeline.resolve import (
    Model,
    Overrides,
    resolve_model,
    resolve_targets,
    with_overrides,
)
from deployq.pipeline.session import Session
from deployq.pipeline.sources import Origin, find_origin
from deployq.pipeline.stores import place_of, server_stores
from deployq.plan.catalogue import CATALOGUE
from deployq.plan.planner import make_plan
from deployq.plan.quants import own_size
from deployq.plugins import pick
from deployq.records import dataclass
from deployq.source.inspect import require_full_precision
from deployq.types import Backend, MergingBackend, ModelInfo, Plan, QuantSize, Target

if TYPE_CHECKING:
    from deployq.types import StepResult


@dataclass(frozen=True)
class Prepared:
    """All that a push needs to know before it starts; `before`: steps done to get here."""

    model: Model
    info: ModelInfo
    plan: Plan
    size_of: Callable[[str], QuantSize]
    origin: Origin | None = None
    before: tuple[StepResult, ...] = ()


def prepare(
    session: Session,
    name: str,
    targets: Sequence[str],
    overrides: Overrides,
    *,
    allow_requantize: bool = False,
    judge: Asked = "nothing",
    reach: Reach = "download",
) -> Prepared:
    """Inspect the model, look at the targets, and plan.

    `reach` says how far a model of the hub is fetched: nothing may be built of an "outline".

    Where a `judge` is asked, its sizes count, and differences are warned about.

    Raises:
        ConfigError: an unknown model, target or quant; a value that no Modelfile takes.
        SourceError: the model can't be used.
    """
    model = with_overrides(resolve_model(session.config, name), overrides)
    model = with_imatrix(model, overrides.imatrix)
    if overrides.locked and str(model.source).startswith("hf:"):
        model = pipeline.as_locked(session, model)
    origin = find_origin(session, model, reach)
    info = _made_or_found(session, origin)
    require_full_precision(info, allow_requantize, origin.label)
    _tell_unmerged(session, origin)
    resolved = resolve_targets(session, targets, model, overrides, info.n_ctx_train)
    require_values(session.config, model, [target.name for target in resolved])
    prepared = planned(session, model, origin, info, resolved, judge)
    if owner := find_owner(session, model):
        told = (*prepared.plan.warnings, name_conflict(model, owner).message)
        prepared = replace(prepared, plan=replace(prepared.plan, warnings=told))
    if judge == "all" and info.format == "gguf":
        require_sound(session, info, model.settings)
    if judge != "nothing":
        judged = judge_plan(session, prepared.plan, judge)
        warnings = (*prepared.plan.warnings, *differences(judged))
        return replace(prepared, plan=replace(prepared.plan, judged=judged, warnings=warnings))
    return prepared


def _tell_unmerged(session: Session, origin: Origin) -> None:
    merger = named_merger(session)
    if merger is not None and not merger.quants() and origin.base is None:
        session.talk_once(
            f"{merger.name} merges adapters, and {origin.path} is none: it is taken as it is"
        )


def current_info(session: Session, model: Model, reach: Reach = "local") -> ModelInfo:
    """What a model's source is now: the file that a push would quantize, where it is there.

    Raises:
        ConfigError, SourceError: nothing is there, or it can't be used.
    """
    origin = find_origin(session, model, reach)
    return _made_or_found(session, origin) if reach == "outline" else info_now(session, origin)


def info_now(session: Session, origin: Origin) -> ModelInfo:
    """What would be quantized, with its projector: what was converted earlier, else as found."""
    return with_projector(session, origin, _made_or_found(session, origin))


def _made_or_found(session: Session, origin: Origin) -> ModelInfo:
    earlier = converted(session, origin) if origin.needs_conversion else None
    return as_gguf(session, earlier, origin) if earlier else origin.info


def with_parts(session: Session, prepared: Prepared) -> Prepared:
    """The same with what lies beside a GGUF and is registered with it."""
    if prepared.origin is None:
        return prepared
    return replace(prepared, info=with_projector(session, prepared.origin, prepared.info))


def planned(
    session: Session,
    model: Model,
    origin: Origin,
    info: ModelInfo,
    targets: tuple[Target, ...],
    judge: Asked,
) -> Prepared:
    """A plan from what the model is, or will be once it is converted."""
    real = info.format == "gguf"
    size_of = sizer(session, info, judge != "nothing" and real, model)
    artifacts = place_of(session.cache_dir)
    plan = make_plan(
        model.name,
        info,
        targets,
        size_of,
        artifacts=artifacts,
        stores=server_stores(session, {target.host for target in targets}, artifacts),
        cached=_cached(session, model, info) if real else frozenset(),
        conversions=() if real else tuple(conversion_steps(origin)),
        imatrix=model.settings.imatrix is not None,
    )
    return Prepared(model, info, plan, size_of, origin)


def sizer(
    session: Session, info: ModelInfo, judge: bool, model: Model | None = None
) -> Callable[[str], QuantSize]:
    """Exact size per quant: by deployq's own rules, or a judge's where it is asked and can tell.

    Of a quant that is made with the model's importance matrix, by deployq's own rules.
    """
    judges = able_judges(session) if judge else []

    @cache
    def size_of(quant: str) -> QuantSize:
        if model is not None and uses_imatrix(model, quant):
            return own_size(info, quant, header_bytes(model))
        return ask_size(judges, info, quant) or own_size(info, quant)

    return size_of


def source_digest(session: Session, info: ModelInfo) -> str:
    """Hex sha256 of the source; that of a split one is over the digests of its parts."""
    digests = [
        session.digests.sha256(
            file,
            lambda done, file=file: session.progress(  # type: ignore[misc]
                f"reading {file.name}", done, file.stat().st_size, "bytes"
            ),
        )
        for file in info.files
    ]
    return digests[0] if len(digests) == 1 else sha256_bytes("\n".join(digests))


def _cached(session: Session, model: Model, info: ModelInfo) -> frozenset[str]:
    """Quants whose artifact is in the store already; empty while the source was never hashed."""
    known = [session.digests.known(file) for file in info.files]
    if None in known:
        return frozenset()
    digest = source_digest(session, info)
    store = ArtifactStore(session.cache_dir)
    keys = {
        quant: pipeline.imatrix_key(session, model, digest, quant)
        for quant in CATALOGUE
        if uses_imatrix(model, quant)
    }
    return frozenset(
        quant
        for backend in session.backends().values()
        if (quants := backend.quants()) and (health := backend.health()).ok
        for quant in quants
        if store.get(artifact_key(digest, quant, backend.name, health.version, keys.get(quant, "")))
    )


def choose_backend(session: Session, info: ModelInfo, quant: str) -> Backend:
    """The backend that makes `quant`: the one asked for, a plugin's choice, else the first able.

    Raises:
        PluginError: the one asked for doesn't exist.
        BackendError: it is not usable here, or can't make this quant.
    """
    backends = session.backends()
    if wanted := session.config.plugins.backend:
        backend = pick(backends, wanted, "backend")
        _require_usable(backend)
        if not isinstance(backend, MergingBackend) or backend.quants():
            _require_able(backend, quant)
            return backend
        backends = {name: other for name, other in backends.items() if name != wanted}
    makers = {n: b for n, b in backends.items() if not isinstance(b, MergingBackend) or b.quants()}
    health = {name: backend.health() for name, backend in makers.items()}
    able = [n for n, b in makers.items() if health[n].ok and quant in b.quants()]
    if able:
        choice = session.plugins.hook.deployq_choose_backend(source=info, quant=quant, names=able)
        return backends[choice if choice in able else able[0]]
    raise ToolMissing(_nobody(quant, makers, health), hint=_hint(health))


def _require_usable(backend: Backend) -> None:
    health = backend.health()
    if not health.ok:
        raise ToolMissing(f"backend {backend.name}: {health.detail}", hint=health.hint)


def _require_able(backend: Backend, quant: str) -> None:
    if quant not in backend.quants():
        makes = ", ".join(sorted(backend.quants()))
        raise BackendError(f"backend {backend.name} can't make {quant}; it makes: {makes}")


def _nobody(quant: str, backends: Mapping[str, Backend], health: Mapping[str, object]) -> str:
    reasons = "; ".join(
        f"{name}: {health[name].detail or 'does not make it'}"  # type: ignore[attr-defined]
        for name in backends
    )
    return f"no backend here can make {quant} ({reasons or 'there is none'})"


def _hint(health: Mapping[str, object]) -> str:
    hints = [h.hint for h in health.values() if not h.ok and h.hint]  # type: ignore[attr-defined]
    return hints[0] if hints else "deployq plugins"
