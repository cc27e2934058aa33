"""The text that artifacts are measured on: a file, or the user's own conversations.

Conversations are rendered by the model's own chat template, as in training. Where one ends with a
question, full precision answers it first. What was rendered is kept, by all that went into it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from deployq.digests import sha256_bytes
from deployq.errors import ConfigError, DiskError, SourceError, ToolMissing
from deployq.files import write_whole
from deployq.pipeline.checks import suite_at
from deployq.pipeline.resolve import Model
from deployq.pipeline.session import Session
from deployq.proof.dialogues import read_dialogues
from deployq.records import dataclass
from deployq.tags.chat_template import Asked, ChatTemplate, chat_template_of, render_all
from deployq.types import Completer, Health, Message, MeterText, ModelInfo, Prompt, Turn

ANSWER_TOKENS = 512
N_CTX = 4096
Dialogue = tuple[Turn, ...]


@dataclass(frozen=True)
class TextSource:
    """Where a text shall come from; the first one that is set counts.

    `suite` None with `from_suite`: the model's own.
    """

    file: Path | None = None
    jsonl: Path | None = None
    from_suite: bool = False
    suite: Path | None = None


@dataclass(frozen=True)
class Written:
    """Conversations to be rendered, and what to call them.

    `n_predict`: tokens at most of an answer that has to be generated.
    """

    name: str
    dialogues: tuple[Dialogue, ...]
    n_predict: int = ANSWER_TOKENS


def meter_text(
    session: Session, model: Model, info: ModelInfo, digest: str, source: TextSource
) -> MeterText:
    """The text of a source.

    Args:
        digest: that of the model's source.

    Raises:
        ConfigError, SuiteError: there is no such text, or none at all was named.
        SourceError: the model has no chat template, or it can't render.
        ToolMissing, BackendError: nothing here can answer the questions.
        DiskError: it can't be kept.
    """
    if source.file is not None:
        return _plain(source.file)
    written = conversations(session, model, source)
    return rendered(session, info, digest, written)


def _plain(path: Path) -> MeterText:
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"cannot read the text {path}: {exc.strerror}") from exc
    if not content.strip():
        raise ConfigError(f"the text {path} is empty")
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not UTF-8: {exc.reason} at byte {exc.start}") from exc
    return MeterText(path, name=path.name)


def conversations(session: Session, model: Model, source: TextSource) -> Written:
    """The conversations of a JSONL file or a suite.

    Raises:
        ConfigError, SuiteError: there are none.
    """
    if source.jsonl is not None:
        return Written(source.jsonl.name, tuple(read_dialogues(source.jsonl)))
    path = source.suite or model.settings.suite
    if not source.from_suite or path is None:
        raise ConfigError(
            f"there is no text to measure {model.name} on",
            hint="name one: --text FILE, --jsonl FILE, or --from-suite (with a suite)",
        )
    suite = suite_at(session, path)
    system = model.settings.system
    dialogues = tuple(_dialogue(prompt.messages, system) for prompt in suite.prompts)
    return Written(suite.name, dialogues, max(map(_most_tokens, suite.prompts)))


def _most_tokens(prompt: Prompt) -> int:
    asked = prompt.options.get("num_predict")
    return asked if isinstance(asked, int) else ANSWER_TOKENS


def _dialogue(messages: Sequence[Message], system: str | None) -> Dialogue:
    turns = tuple(Turn(m.role, m.content) for m in messages)
    if system and turns[0].role != "system":
        return (Turn("system", system), *turns)  # as the tag's own SYSTEM does
    return turns


# ---------------------------------------------------------------- rendering


def rendered(session: Session, info: ModelInfo, digest: str, written: Written) -> MeterText:
    """The conversations as one text, from the cache where they are there.

    Raises:
        SourceError, ToolMissing, BackendError, DiskError: as for `meter_text`.
    """
    template = chat_template_of(info)
    if template is None:
        raise SourceError(
            f"{info.path.name} has no chat template to render {written.name} with",
            hint="measure a plain text: --text FILE",
        )
    path = session.cache_dir / "texts" / f"{text_key(digest, written)[:40]}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                write_whole(path, _render(session, info, template, written))
    except OSError as exc:
        raise DiskError(f"the text {path} can't be kept: {exc.strerror or exc}") from exc
    count = len(written.dialogues)
    return MeterText(path, special=True, name=f"{written.name}, {count} conversations")


def text_key(digest: str, written: Written) -> str:
    """Hex sha256 of what goes into a text: the model (with its template) and the conversations."""
    content = [[asdict(turn) for turn in dialogue] for dialogue in written.dialogues]
    return sha256_bytes(json.dumps([1, digest, written.n_predict, content], sort_keys=True))


def _render(session: Session, info: ModelInfo, template: ChatTemplate, written: Written) -> str:
    whole = _answered(session, info, template, written)
    texts = _texts(template, [Asked(d, generation_prompt=False) for d in whole])
    # every conversation begins as it would alone
    start = template.bos if template.adds_bos else ""
    return "".join(f"{start}{text.removeprefix(start)}" for text in texts)


def _answered(
    session: Session, info: ModelInfo, template: ChatTemplate, written: Written
) -> list[Dialogue]:
    dialogues = written.dialogues
    open_ones = [n for n, dialogue in enumerate(dialogues) if dialogue[-1].role != "assistant"]
    whole = list(dialogues)
    if not open_ones:
        return whole
    prompts = _texts(template, [Asked(dialogues[n]) for n in open_ones])
    if template.adds_bos:  # the engine adds it itself
        prompts = [prompt.removeprefix(template.bos) for prompt in prompts]
    n_ctx = min(N_CTX, info.n_ctx_train or N_CTX)
    answers = _completer(session).complete(
        info.files[0], prompts, n_ctx, min(written.n_predict, n_ctx // 2), session.progress
    )
    for n, answer in zip(open_ones, answers, strict=True):
        whole[n] = (*dialogues[n], Turn("assistant", answer.text))
    return whole


def _texts(template: ChatTemplate, asked: Sequence[Asked]) -> list[str]:
    found = []
    for number, prompt in enumerate(render_all(template, asked), 1):
        if prompt.text is None:
            raise SourceError(
                f"the model's chat template does not render conversation {number}: "
                f"{prompt.refusal}",
                hint="deployq inspect MODEL shows the template",
            )
        found.append(prompt.text)
    return found


def _completer(session: Session) -> Completer:
    brought = session.completers("gguf")
    health: dict[str, Health] = {name: one.health() for name, one in brought.items()}
    for name, completer in brought.items():
        if health[name].ok:
            return completer
    why = "; ".join(f"{name}: {one.detail}" for name, one in health.items()) or "no plugin does"
    hint = next((one.hint for one in health.values() if one.hint), "deployq plugins")
    raise ToolMissing(f"nothing here can answer the questions of a suite ({why})", hint=hint)
