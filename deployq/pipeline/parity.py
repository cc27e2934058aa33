"""Whether a tag renders conversations as the model's own chat template does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deployq.errors import ConfigError, ServerRefused
from deployq.pipeline.prepare import current_info
from deployq.pipeline.resolve import resolve_model
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.setting_values import NAMED_SOURCES
from deployq.source.inspect import inspect
from deployq.tags.chat_template import chat_template_of
from deployq.tags.conversations import COUNTED, ONE, Reference, conversations, reference
from deployq.tags.known_templates import known_template
from deployq.tags.names import TagName
from deployq.tags.parity import compare, engine_stops, without_template
from deployq.tags.records import Shown
from deployq.types import (
    Conversation,
    Message,
    ModelInfo,
    ParityReport,
    RenderedPrompt,
    ServedTemplate,
    Turn,
)

_ONE_TOKEN = {"num_predict": 1, "temperature": 0}


def check_parity(session: Session, site: Site, tag: str, info: ModelInfo) -> ParityReport:
    """Render conversations on the server and by the model's own template, and compare.

    The server loads the model for it, and generates nothing; where it can't render only, one
    token each for a few conversations, of which the prompts' tokens are counted.

    Args:
        tag: the tag's name on the server, staged or not.
        info: the header of the tag's weights, or of their source.

    Raises:
        ServerError: there is no such tag, or the server fails.
        SourceError: the model's template takes too long to render.
    """
    session.progress(f"template of {tag}", 0, None, "conversations")
    served = served_template(site.server.show(tag))
    # What the server refuses after this concerns the conversation, not the model.
    site.server.load(tag)
    template = chat_template_of(info)
    if template is None:
        return without_template(tag, site.endpoint.url, served, _plain(session, site, tag))
    own = reference(template, served)
    theirs = _render(session, site, tag, own.conversations)
    if theirs is None:
        ours, theirs = _counted(session, site, tag, own)
    else:
        ours = dict(own.prompts)
    return compare(tag, site.endpoint.url, own, served, theirs, engine_stops(info), ours=ours)


def served_template(shown: Shown) -> ServedTemplate:
    """What a server says of a tag's prompts."""
    stops = shown.parameters.get("stop", ())
    return ServedTemplate(
        template=shown.template,
        system=shown.system,
        stops=stops if isinstance(stops, tuple) else (str(stops),),
        turns=tuple(Turn(role, content) for role, content in shown.messages),
        known=known_template(shown.template),
    )


def model_of_tag(session: Session, site: Site, tag: str, source: str | None) -> ModelInfo:
    """The header that a tag is held against.

    That of `source` where one is given, else of the model of that name in deployq.toml, else of
    the tag's own weights where the server keeps them on this machine.

    Raises:
        ConfigError: there is none of them.
        SourceError: it can't be read.
    """
    if source is not None:
        return current_info(session, resolve_model(session.config, source))
    name = TagName.parse(tag).model
    settings = session.config.models.get(name)
    if settings is not None and settings.source is not None and _is_there(settings.source):
        return current_info(session, resolve_model(session.config, name))
    folder, digest = site.endpoint.models_dir, site.server.show(tag).blob_digest
    blob = folder / "blobs" / f"sha256-{digest}" if folder and digest else None
    if blob is not None and blob.is_file():
        return inspect(blob)
    raise ConfigError(
        f"nothing here tells the chat template that {tag} was trained with: deployq.toml has no "
        f"model {TagName.parse(tag).model!r}, and its weights are not on this machine",
        hint=f"deployq parity {tag} --source FILE.gguf",
    )


def _is_there(source: Path) -> bool:
    return str(source).startswith(NAMED_SOURCES) or source.exists()


# ---------------------------------------------------------------- asking the server


def _render(
    session: Session, site: Site, tag: str, asked: Sequence[Conversation]
) -> dict[str, RenderedPrompt] | None:
    """What the server makes of each conversation; None: it does not know how to render only."""
    prompts = {}
    for number, conversation in enumerate(asked, 1):
        prompt = _one(site, tag, conversation)
        if prompt is None:
            return None
        prompts[conversation.name] = prompt
        session.progress(f"template of {tag}", number, len(asked), "conversations")
    return prompts


def _one(site: Site, tag: str, asked: Conversation) -> RenderedPrompt | None:
    try:
        text = site.server.render(tag, asked.turns, think=asked.think, tools=asked.tools)
    except ServerRefused as exc:
        return RenderedPrompt(None, exc.message)
    return None if text is None else RenderedPrompt(text)


def _plain(session: Session, site: Site, tag: str) -> dict[str, RenderedPrompt]:
    """One question, for a model whose template nobody knows."""
    asked = [conversation for conversation in conversations() if conversation.name == ONE]
    return _render(session, site, tag, asked) or {}


def _counted(
    session: Session, site: Site, tag: str, own: Reference
) -> tuple[dict[str, RenderedPrompt], dict[str, RenderedPrompt]]:
    """Prompts of a few conversations with their tokens counted: the model's, and the server's.

    The model's is sent raw. The tokenizer adds its own BOS there, so one is left out.
    """
    ours, theirs = {}, {}
    counted = [c for c in own.conversations if c.name in COUNTED]
    for number, conversation in enumerate(counted, 1):
        prompt = own.prompts[conversation.name]
        if prompt.text is None:
            continue
        template, text = own.template, prompt.text
        raw = text.removeprefix(template.bos) if template.adds_bos else text
        answer = site.server.generate(tag, raw, raw=True, options=_ONE_TOKEN)
        ours[conversation.name] = replace(prompt, tokens=answer.prompt_tokens)
        answer = site.server.chat(
            tag, [Message(t.role, t.content) for t in conversation.turns], options=_ONE_TOKEN
        )
        theirs[conversation.name] = RenderedPrompt(None, tokens=answer.prompt_tokens)
        session.progress(f"template of {tag}", number, len(counted), "conversations")
    return ours, theirs
