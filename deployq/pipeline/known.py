"""What is known of a tag before it is diagnosed: its weights, its source, its prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from deployq.errors import DeployqError, ServerRefused
from deployq.files import is_there
from deployq.pipeline.asking import Key, as_sent_raw
from deployq.pipeline.parity import served_template
from deployq.pipeline.prepare import info_now
from deployq.pipeline.resolve import Model, resolve_model
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.pipeline.sources import Origin, find_origin
from deployq.pipeline.suspects import blob_of
from deployq.records import dataclass
from deployq.setting_values import NAMED_SOURCES
from deployq.source.inspect import inspect
from deployq.tags.chat_template import Asked, ChatTemplate, chat_template_of, render_all
from deployq.tags.conversations import as_sent, reference
from deployq.tags.lockfile import LockEntry, Lockfile
from deployq.tags.names import TagName
from deployq.tags.records import Shown
from deployq.types import Conversation, ModelInfo, Prompt, ServedTemplate, Turn


@dataclass(frozen=True)
class Known:
    """A tag with all that tells of it.

    `model` is what it was made from and `info` its header (that of the GGUF, once it was
    converted), None where nobody knows; `trained` is the folder of the trained model. `blob` is the
    server's file with its weights, where that is on this machine, and `blob_info` its header.
    `end_mark` is how an answer ends by the model's own template, "" where there is none.
    """

    tag: str
    shown: Shown
    entry: LockEntry | None
    model: Model | None
    info: ModelInfo | None
    trained: Path | None
    blob: Path | None
    blob_info: ModelInfo | None
    template: ChatTemplate | None
    end_mark: str

    @property
    def served(self) -> ServedTemplate:
        return served_template(self.shown)

    @property
    def header(self) -> ModelInfo | None:
        """The header that tells of the model: the source's, else the weights'."""
        return self.info or self.blob_info

    @property
    def weights(self) -> Sequence[Path]:
        """The files of the model in full precision; empty where there are none."""
        whole = self.info is not None and self.info.format == "gguf" and not self.info.quantized
        return self.info.files if whole and self.info is not None else ()

    @property
    def quant(self) -> str:
        """What the tag's weights are, by deployq's word, else by the server's."""
        said = str(self.shown.details.get("quantization_level") or "")
        return self.entry.quant if self.entry is not None else said


@dataclass(frozen=True)
class Texts:
    """Conversations as prompts for raw requests: by the model's own template, and the server's."""

    own: Mapping[Key, str]
    served: Mapping[Key, str]

    @property
    def best(self) -> Mapping[Key, str]:
        return {**self.served, **self.own}

    def differ(self, prompt: Prompt) -> bool:
        """Whether the server makes another prompt of it, or nobody knows what it makes."""
        own, served = self.own.get(prompt.messages), self.served.get(prompt.messages)
        return own is not None and own != served


def know(session: Session, site: Site, tag: str, source: str | None) -> Known:
    """Look a tag up.

    Args:
        source: what it was made from; None: the model of that name in deployq.toml.

    Raises:
        ConfigError, SourceError: `source` is nothing.
        ServerRefused: there is no such tag.
    """
    shown = site.server.show(tag)
    model, origin = _made_from(session, tag, source) or (None, None)
    info = info_now(session, origin) if origin is not None else None
    blob = blob_of(site, shown.blob_digest)
    blob_info = _readable(blob)
    header = info or blob_info
    template = chat_template_of(header) if header is not None else None
    closing = reference(template, ServedTemplate("")).closing if template else ""
    return Known(
        tag=tag,
        shown=shown,
        entry=Lockfile.load(session.lockfile).find(tag, site.key),
        model=model,
        info=info,
        trained=_folder(origin) if origin is not None else None,
        blob=blob,
        blob_info=blob_info,
        template=template,
        end_mark=closing.strip().split("\n")[0],
    )


def _made_from(session: Session, tag: str, source: str | None) -> tuple[Model, Origin] | None:
    """What a tag was made from, where that is known and on this machine."""
    if source is not None:
        model = resolve_model(session.config, source)
        return model, find_origin(session, model, "local")
    name = TagName.parse(tag).model
    settings = session.config.models.get(name)
    if settings is None or settings.source is None:
        return None
    model = resolve_model(session.config, name)
    by_name = str(model.source).startswith(NAMED_SOURCES)
    if not by_name and not is_there(model.source):
        return None
    try:
        return model, find_origin(session, model, "local")
    except DeployqError:
        if by_name:
            return None
        raise


def _folder(origin: Origin) -> Path | None:
    """The folder of a model that was trained whole; an adapter answers on its base alone."""
    return origin.path if origin.needs_conversion and origin.base is None else None


def _readable(blob: Path | None) -> ModelInfo | None:
    try:
        return inspect(blob) if blob is not None else None
    except DeployqError:
        return None


def texts_of(site: Site, known: Known, prompts: Sequence[Prompt]) -> Texts:
    """What the model's own template, and the server, make of conversations without tools.

    The server loads the model for it. Where tools are called, a raw answer can't be read.

    Raises:
        SourceError: the model's template takes too long to render.
    """
    prompts = [prompt for prompt in prompts if not prompt.tools]
    own: dict[Key, str] = {}
    if known.template is not None:
        asked = [_asked(prompt, known.served) for prompt in prompts]
        rendered = render_all(known.template, asked)
        own = {
            prompt.messages: as_sent_raw(known.template, text.text)
            for prompt, text in zip(prompts, rendered, strict=True)
            if text.text is not None
        }
    served = {}
    for prompt in prompts:
        text = _served(site, known.tag, prompt)
        if text is not None:
            served[prompt.messages] = as_sent_raw(known.template, text)
    return Texts(own, served)


def _asked(prompt: Prompt, served: ServedTemplate) -> Asked:
    turns = tuple(Turn(message.role, message.content) for message in prompt.messages)
    sent = as_sent(Conversation(prompt.name, turns), served)
    return Asked(sent, think=bool(prompt.think))


def _served(site: Site, tag: str, prompt: Prompt) -> str | None:
    try:
        return site.server.render(tag, prompt.messages, think=prompt.think)
    except ServerRefused:
        return None
