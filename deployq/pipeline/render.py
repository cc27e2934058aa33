"""The Modelfiles of a push: rendered, parsed again, and only what was parsed is sent."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from deployq import __version__, tags
from deployq.config import CONFIG_NAME, Config
from deployq.digests import sha256_bytes
from deployq.errors import ConfigError, ModelfileError
from deployq.files import template_dir, write_whole
from deployq.pipeline.resolve import Model, default_context, target_settings
from deployq.pipeline.session import Session
from deployq.records import dataclass
from deployq.setting_values import OwnTemplate
from deployq.tags.context import context
from deployq.tags.modelfile import Modelfile, parse, quote
from deployq.tags.names import TagName, alias, quant_tag
from deployq.tags.parameters import check_setting, stops_of
from deployq.types import Json, ModelInfo, Target

OWN: OwnTemplate = "model"
_PARAMETER = re.compile(r"^PARAMETER \w+: ")


@dataclass(frozen=True)
class Rendered:
    """One tag as it shall be: the text that people see and what it means.

    `own_template`: the server must render the model's own chat template, with a TEMPLATE where it
    takes that (pipeline/own_template.py).
    """

    tag: TagName
    quant: str
    text: str
    modelfile: Modelfile
    target: str | None = None
    own_template: bool = False

    @property
    def digest(self) -> str:
        """Hex sha256 of what it says; forcing the model's own template says more."""
        digest = self.modelfile.digest
        return sha256_bytes(f"{digest} template = model") if self.own_template else digest

    @property
    def n_ctx(self) -> int | None:
        return self.modelfile.n_ctx


def render_tag(session: Session, model: Model, info: ModelInfo, quant: str) -> Rendered:
    """The Modelfile of a quant tag: `task-api:q4_k_m`.

    Raises:
        ModelfileError: the template does not render, or what it renders would not survive Ollama.
    """
    settings = model.settings
    parameters = {
        "num_ctx": default_context(settings, info.n_ctx_train),
        **settings.parameters,
    }
    own = settings.quant_templates.get(quant)
    template = _named(session, str(own)) if own else settings.template
    require_values(session.config, model)
    text = _render(session, model, info, quant, parameters, template, None)
    name = quant_tag(model.name, quant)
    modelfile = _parsed(text, name, template)
    return Rendered(name, quant, text, modelfile, own_template=template == OWN)


def render_alias(
    session: Session, model: Model, info: ModelInfo, target: Target, quant: str
) -> Rendered:
    """The Modelfile of a target's alias: the quant's, with that target's context and parameters.

    Raises:
        ModelfileError: as for `render_tag`.
    """
    settings = model.settings
    mine = target_settings(session.config, target.name)
    parameters = {**settings.parameters, **mine.parameters, "num_ctx": target.n_ctx}
    template = mine.template or settings.template
    require_values(session.config, model, (target.name,))
    text = _render(session, model, info, quant, parameters, template, target)
    name = alias(model.name, target.name)
    modelfile = _parsed(text, name, template)
    return Rendered(name, quant, text, modelfile, target.name, template == OWN)


def require_values(config: Config, model: Model, targets: Iterable[str] = ()) -> None:
    """Make sure that what deployq.toml says of a model and its targets can go into a Modelfile.

    Raises:
        ConfigError: it can't; file, key and value are named.
    """
    settings, where = model.settings, f"models.{model.name}"
    for key, text in (("system", settings.system), ("license", settings.license)):
        with _setting(config, f"{where}.{key}"):
            quote(text or "")
    tables = {where: settings.parameters}
    tables |= {f"targets.{name}": target_settings(config, name).parameters for name in targets}
    for table, parameters in tables.items():
        for name, value in parameters.items():
            with _setting(config, f"{table}.parameters.{name} = {json.dumps(value, default=str)}"):
                check_setting(name, value)
                for stop in stops_of(name, value):
                    quote(stop)


@contextlib.contextmanager
def _setting(config: Config, key: str) -> Iterator[None]:
    """Names the key in a complaint from inside the block, in place of a line of a Modelfile."""
    try:
        yield
    except ModelfileError as exc:
        file = config.file.name if config.file else CONFIG_NAME
        message = _PARAMETER.sub("", exc.message)
        raise ConfigError(f"{file}: {key}: {message}", hint=exc.hint) from exc


def _parsed(text: str, tag: TagName, template: Path | OwnTemplate | None) -> Modelfile:
    try:
        return parse(text)
    except ModelfileError as exc:
        by = f", as {template} renders it" if template not in (None, OWN) else ""
        raise ModelfileError(f"Modelfile of {tag}{by}, {exc.message}", hint=exc.hint) from exc


def _named(session: Session, name: str) -> Path | OwnTemplate:
    return "model" if name == OWN else session.config.folder / name


def _render(
    session: Session,
    model: Model,
    info: ModelInfo,
    quant: str,
    parameters: Mapping[str, Json],
    template: Path | OwnTemplate | None,
    target: Target | None,
) -> str:
    hook = session.plugins.hook
    settings = model.settings
    base = context(
        model=model.name,
        architecture=info.architecture,
        quant=quant,
        from_=f"{model.name}-{quant}.gguf",
        parameters=parameters,
        system=settings.system or "",
        stops=info.stop_tokens,
        target=target.name if target else None,
        license=(settings.license,) if settings.license else (),
        projector=_file_of(info, "projector"),
        adapter=_file_of(info, "adapter"),
    )
    brought = hook.deployq_modelfile_context(model=info, target=target, quant=quant, context=base)
    for extra in reversed(brought):
        base.update(extra)
    named = None if template in (None, OWN) else str(template)
    folders = tuple(folder for folders in hook.deployq_template_dirs() for folder in folders)
    if folders or named or brought:
        return tags.render_modelfile(tags.environment(folders), named, base)
    return _remembered(session.cache_dir / "modelfiles", base)


def _remembered(folder: Path, context: Mapping[str, Json]) -> str:
    """What deployq's own templates say of a context.

    They say the same each time: a push that has nothing to do needs no Jinja2, whose import and
    work are a tenth of it.
    """
    own = [file.read_text("utf-8") for file in sorted(template_dir().glob("Modelfile*.j2"))]
    kept = folder / sha256_bytes(json.dumps([__version__, own, context], sort_keys=True))
    with contextlib.suppress(OSError):
        return kept.read_bytes().decode()
    text = tags.render_modelfile(tags.environment(), None, context)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(kept, text)
    return text


def _file_of(info: ModelInfo, kind: str) -> str:
    """The name of the part of that kind; empty where there is none."""
    return next((part.file_name for part in info.parts if part.kind == kind), "")
