"""The Modelfiles of a push: rendered, parsed again, and only what was parsed is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployq.pipeline.resolve import Model, default_context, target_settings
from deployq.pipeline.session import Session
from deployq.tags.modelfile import Modelfile, parse
from deployq.tags.names import TagName, alias, quant_tag
from deployq.tags.templates import context, environment, render_modelfile
from deployq.types import Json, ModelInfo, Target


@dataclass(frozen=True)
class Rendered:
    """One tag as it shall be: the text that people see and what it means."""

    tag: TagName
    quant: str
    text: str
    modelfile: Modelfile
    target: str | None = None

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
    template = session.config.folder / str(own) if own else settings.template
    text = _render(session, model, info, quant, parameters, template, None)
    return Rendered(quant_tag(model.name, quant), quant, text, parse(text))


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
    return Rendered(name, quant, text, parse(text), target.name)


def _render(
    session: Session,
    model: Model,
    info: ModelInfo,
    quant: str,
    parameters: Mapping[str, Json],
    template: Path | None,
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
    )
    brought = hook.deployq_modelfile_context(model=info, target=target, quant=quant, context=base)
    for extra in reversed(brought):
        base.update(extra)
    folders = [folder for folders in hook.deployq_template_dirs() for folder in folders]
    return render_modelfile(environment(folders), str(template) if template else None, base)
