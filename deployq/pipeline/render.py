"""The Modelfiles of a push: rendered, parsed again, and only what was parsed is sent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deployq.digests import sha256_bytes
from deployq.pipeline.resolve import Model, default_context, target_settings
from deployq.pipeline.session import Session
from deployq.records import dataclass
from deployq.setting_values import OwnTemplate
from deployq.tags.modelfile import Modelfile, parse
from deployq.tags.names import TagName, alias, quant_tag
from deployq.tags.templates import context, environment, render_modelfile
from deployq.types import Json, ModelInfo, Target

OWN: OwnTemplate = "model"


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
    text = _render(session, model, info, quant, parameters, template, None)
    name = quant_tag(model.name, quant)
    return Rendered(name, quant, text, parse(text), own_template=template == OWN)


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
    text = _render(session, model, info, quant, parameters, template, target)
    name = alias(model.name, target.name)
    return Rendered(name, quant, text, parse(text), target.name, template == OWN)


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
    folders = [folder for folders in hook.deployq_template_dirs() for folder in folders]
    return render_modelfile(environment(folders), named, base)


def _file_of(info: ModelInfo, kind: str) -> str:
    """The name of the part of that kind; empty where there is none."""
    return next((part.file_name for part in info.parts if part.kind == kind), "")
