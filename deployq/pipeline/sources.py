"""From what a user names as a model's source to the files that it means."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deployq import pipeline
from deployq import source as sources
from deployq.digests import sha256_bytes
from deployq.errors import ConfigError, SourceError
from deployq.files import is_there
from deployq.ggml import NATIVE_TYPES
from deployq.pipeline.fetched import Fetched, Reach
from deployq.pipeline.preflight import allowed_checks, stops
from deployq.pipeline.resolve import Model
from deployq.pipeline.session import Session
from deployq.records import dataclass
from deployq.settings import ModelSettings
from deployq.source.bases import find_base, is_local_name
from deployq.source.finding import Found, find_source
from deployq.source.hf_files import model_files, source_files
from deployq.source.inspect import inspect
from deployq.source.preflight import check_header
from deployq.source.projector import check_projector, projector_note
from deployq.source.saves import choose_save, left_out_notes, shown_date
from deployq.types import Failed, Finding, ModelInfo

if TYPE_CHECKING:
    from deployq.source import Adapter

STOPS = " (push will stop here)"
"""Ends a warning of a finding that is fatal."""


@dataclass(frozen=True)
class Origin:
    """What a model is made from: `path` itself, or the adapter `path` on the model in `base`.

    `info` is what it will be as a GGUF; `dtype` what it is converted to, empty where it is a GGUF
    already. `label` names a source that was fetched by name, with its revision, `base_label` such a
    base. `mode` is what
    of it is converted, and `parts` are converted too, each to a file of its own.
    """

    path: Path
    info: ModelInfo
    settings: ModelSettings
    found: Found
    name: str
    dtype: str = ""
    base: Path | None = None
    adapter: Adapter | None = None
    label: str = ""
    base_label: str = ""
    mode: Literal["model", "adapter", "projector"] = "model"
    parts: tuple[Origin, ...] = ()

    @property
    def needs_conversion(self) -> bool:
        return bool(self.dtype)

    @property
    def allowed(self) -> frozenset[str]:
        """Checks that only warn."""
        return allowed_checks(self.settings)

    @property
    def tokenizer_folder(self) -> Path:
        """An adapter that was saved with its tokenizer is served with that one."""
        own = (self.path / "tokenizer_config.json").is_file()
        return self.path if own or self.base is None else self.base

    def files(self) -> tuple[Path, ...]:
        """Every file that the conversion's result depends on."""
        if self.base is None:
            return model_files(self.path)
        return (*source_files(self.path), *model_files(self.base))


def find_origin(session: Session, model: Model, reach: Reach = "local") -> Origin:
    """Find the model in its source, and the base of an adapter.

    Args:
        session: which it is for.
        model: its settings say where.
        reach: how far what the hub has is fetched.

    Raises:
        SourceError: there is no model, or it can't be used, or its base is not known.
        ConfigError: nothing is there.
        ServerError: the source is a tag, and its server can't be asked.
    """
    fetched = _fetched(session, model.source, reach)
    place = fetched.path
    if not is_there(place):
        raise ConfigError(f"{place}: no such file or folder", hint="check the model's source")
    found = find_source(place, "adapter" if model.settings.base else None)
    if found.kind == "adapter":
        return _told(_with_projector(_adapter(session, model, found, fetched, reach)), fetched)
    info = _inspected(found, fetched)
    dtype = "" if info.format == "gguf" else model.settings.dtype or _converted_dtype(info)
    origin = Origin(found.path, info, model.settings, found, model.name, dtype, label=fetched.label)
    return _told(_with_projector(origin), fetched)


def _converted_dtype(info: ModelInfo) -> str:
    """The type of what isn't quantized in the converted file; a model's own blocks stay so."""
    return "BF16" if info.dtype in NATIVE_TYPES else info.dtype


def _with_projector(origin: Origin) -> Origin:
    """The same with its part for images or sound as a file of its own; or without, if unwanted."""
    info = origin.info
    if not info.projector_bytes:
        return origin
    if not origin.settings.projector:
        note = {*projector_note(info.projector_bytes)}
        warnings = tuple(warning for warning in info.warnings if warning not in note)
        return replace(origin, info=replace(info, projector_bytes=0, warnings=warnings))
    if not origin.needs_conversion:
        return origin  # it is a GGUF, too: pipeline/conversion.py
    part = replace(origin, mode="projector", parts=())
    if origin.base is not None and not _changes_projector(origin.adapter):
        part = replace(part, path=origin.base, base=None, adapter=None)
    return replace(origin, parts=(*origin.parts, part))


def _changes_projector(adapter: Adapter | None) -> bool:
    return adapter is not None and any(map(sources.is_projector, (*adapter.pairs, *adapter.whole)))


def _told(origin: Origin, fetched: Fetched) -> Origin:
    """The same, its info saying what was chosen and what is odd about it."""
    findings = cheap_findings(origin) if origin.needs_conversion else _of_gguf(origin)
    warnings = [
        finding.message + (STOPS if stops(finding, origin.allowed) else "") for finding in findings
    ]
    info = replace(
        origin.info,
        notes=(*origin.info.notes, *fetched.notes, *_choice(origin)),
        warnings=(*origin.info.warnings, *warnings),
    )
    return replace(origin, info=info)


def _of_gguf(origin: Origin) -> Iterator[Finding]:
    yield from check_header(origin.info)
    if origin.settings.projector:
        yield from check_projector(origin.path, origin.info.metadata)


def _choice(origin: Origin) -> Iterator[str]:
    """What was chosen, and why, in lines for a person; nothing where there was no choice."""
    if origin.found.why:
        yield f"source: {origin.found.why}"
    if origin.found.passed_over:
        yield f"not taken: {'; '.join(origin.found.passed_over)}"
    if origin.needs_conversion:
        choice = choose_save(origin.base or origin.path)
        if choice.taken and (left_out := "; ".join(left_out_notes(choice))):
            taken = f"{choice.taken.label} of {shown_date(choice.taken.changed)}"
            yield f"weights: {taken}; not taken: {left_out}"
    for part in (origin, *origin.parts):
        if part.adapter is None:
            continue
        adapter, how = part.adapter, "attached to" if part.mode == "adapter" else "merged into"
        yield f"{adapter.kind} adapter of rank {adapter.rank}, to be {how} {part.base}"
        if adapter.base != adapter.base_shown:
            yield (
                f"the adapter was trained on {adapter.base_shown}, a quantized copy; it goes onto "
                f"the full-precision {adapter.base}"
            )


def _inspected(found: Found, fetched: Fetched) -> ModelInfo:
    """A folder of a cache is named by a hash; the model has its own name."""
    info = inspect(found.path, unconverted=found.kind == "model")
    own = fetched.called if info.format == "huggingface" else ""
    return replace(info, name=own or info.name)


def _adapter(
    session: Session, model: Model, found: Found, fetched: Fetched, reach: Reach
) -> Origin:
    adapter = sources.read_adapter(found.path)
    on = _base(session, model, adapter, reach)
    at = find_source(on.path, "model")
    base, info = at.path, _inspected(at, on)
    if info.format == "gguf":
        raise SourceError(
            f"{base}: is a GGUF; an adapter is merged into a Hugging Face folder",
            hint=f"give the folder or name that {adapter.base_shown or 'it'} stands for: --base",
        )
    merged = Origin(
        path=found.path,
        info=replace(
            _of_adapter(info, found.path),
            name=fetched.called or found.path.resolve().name,
            notes=(*info.notes, *on.notes),
        ),
        settings=model.settings,
        found=found,
        name=model.name,
        dtype=model.settings.dtype or _converted_dtype(info),
        base=base,
        adapter=adapter,
        label=fetched.label,
        base_label=on.label,
    )
    return _attached(merged, info, on) if model.settings.adapter == "attach" else merged


def _attached(merged: Origin, base: ModelInfo, on: Fetched) -> Origin:
    """The base as it is, which other adapters share, and the adapter as a file beside it."""
    adapter = replace(merged, mode="adapter", dtype="F32")
    return replace(
        merged,
        path=base.path,
        info=base,
        name=on.called or base.path.resolve().name,
        base=None,
        adapter=None,
        parts=(adapter,),
    )


def _of_adapter(base: ModelInfo, folder: Path) -> ModelInfo:
    """What the merged model is: its base, with the tokenizer that the adapter brings."""
    info = replace(base, path=folder, name=folder.resolve().name)
    facts = sources.read_tokenizer(folder)
    if not facts.files:
        return info
    stops = tuple(filter(None, [facts.eos_token]))
    template, eos = facts.chat_template, facts.eos_token
    return replace(info, chat_template=template, eos_token=eos, stop_tokens=stops)


def _base(session: Session, model: Model, adapter: Adapter, reach: Reach) -> Fetched:
    """An adapter's base: what is configured, else what has the name that it gives.

    Raises:
        SourceError: it gives none, or nothing of that name is here or on the hub.
    """
    if model.settings.base is not None:
        return _fetched(session, model.settings.base, reach)
    found, named = find_base(adapter), adapter.base_shown
    if found is not None:
        by = f" (it names {named})" if named else ""
        return Fetched(found, notes=(f"base: {found}, beside the adapter{by}",))
    if not named:
        raise SourceError(
            f"{adapter.folder}: its adapter_config.json names no base",
            hint="--base PATH, or base = PATH under [models.NAME]",
        )
    local = (adapter.folder / Path(named).expanduser()).resolve()
    if local.is_dir():
        raise SourceError(
            f"{adapter.folder}: names {named} as its base, "
            + _why_not(local, adapter.folder.resolve().parent),
            hint=f"--base {local}, if that is the base",
        )
    if is_local_name(named):
        raise SourceError(
            f"{adapter.folder}: names {named} as its base, which is not on this machine, nor is a "
            "folder of that name beside the adapter",
            hint="--base PATH, the folder of that model; or --base hf:ORG/NAME, where it came from",
        )
    revision = f"@{adapter.revision}" if adapter.revision else ""
    try:
        return _fetched(session, Path(f"hf:{adapter.base}{revision}"), reach)
    except (ConfigError, SourceError) as exc:
        exc.hint = f"{exc.hint}; or --base PATH, if that model is a folder on this machine"
        raise


def _why_not(local: Path, home: Path) -> str:
    if not local.is_relative_to(home):
        return "a path outside of its own folder, which is not followed unasked"
    return "a folder that holds no whole model in full precision"


def _fetched(session: Session, source: Path, reach: Reach) -> Fetched:
    """A source by name as a place on this machine."""
    text = str(source)
    if text.startswith("ollama:"):
        return pipeline.ollama_source(session, text)
    if not text.startswith("hf:"):
        return Fetched(source)
    if find_spec("huggingface_hub") is None:
        raise ConfigError(
            f"{text}: the Python package huggingface_hub is not installed",
            hint="pip install 'deployq[hf]'",
        )
    return pipeline.hub_source(session, text, reach)


def cheap_findings(origin: Origin) -> Iterator[Finding]:
    """What small files and headers tell: the tokenizer, the shards, the adapter's shapes.

    Raises:
        SourceError: a shard is missing, or a header lies.
    """
    folder = origin.base or origin.path
    yield from sources.check_folder(folder, origin.tokenizer_folder)
    yield from sources.check_config(folder, origin.info)
    if origin.settings.projector:
        yield from sources.check_senses(folder, origin.info)
    for part in (origin, *origin.parts):
        if part.adapter is not None and part.base is not None:
            shapes = {t.name: t.shape for t in sources.read_weights(part.base).tensors}
            yield from sources.check_pickled(part.path, [part.adapter.weights])
            yield from sources.check_adapter(part.adapter, shapes)
            yield from sources.check_commit(part.adapter, part.base)
            if part.mode == "adapter" and part.adapter.whole:
                yield _needs_merge(part)


def _needs_merge(part: Origin) -> Finding:
    return Failed(
        "adapter",
        f"{part.path}: holds whole trained tensors (embeddings, new tokens), not attachable",
        'adapter = "merge" under [models.NAME]',
    )


# ---------------------------------------------------------------- digests


def origin_digest(session: Session, origin: Origin, *, hash_now: bool) -> str | None:
    """Hex sha256 of all that a conversion's result depends on.

    None: some file was never hashed, and `hash_now` is off.
    """
    files = origin.files()
    if not hash_now and not all(map(session.digests.known, files)):
        return None
    parts = [f"{file.name} {digest}" for file, digest in _hashed(session, origin, files)]
    settings = origin.settings
    options = {
        "dtype": origin.dtype,
        "name": origin.name,
        "pre_tokenizer": settings.pre_tokenizer or "",
        "merge": origin.base is not None,
        "mode": origin.mode,
    }
    return sha256_bytes("\n".join([*parts, json.dumps(options, sort_keys=True)]))


def _hashed(session: Session, origin: Origin, files: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Each file with its hex sha256; what was hashed before is not read again."""
    total, before = sum(file.stat().st_size for file in files), 0
    task = f"reading {origin.path.resolve().name}"
    for file in files:
        start = before
        yield (
            file,
            session.digests.sha256(
                file,
                lambda done, start=start: session.progress(task, start + done, total, "bytes"),  # type: ignore[misc]
            ),
        )
        before += file.stat().st_size
