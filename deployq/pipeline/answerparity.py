"""Does a GGUF go on as the trained model does? Asked once, right after it was converted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from deployq.errors import BackendError, SourceError
from deployq.pipeline.asking import as_sent_raw
from deployq.pipeline.checks import suite_at
from deployq.pipeline.session import Session
from deployq.pipeline.sources import Origin
from deployq.tags.chat_template import Asked, chat_template_of, render_all
from deployq.types import (
    Completion,
    Failed,
    Finding,
    FollowingCompleter,
    Message,
    ModelInfo,
    NotRun,
    Turn,
)

PROMPTS, TOKENS = 3, 16
MEMORY_SHARE = 0.5
LEAST_SAME, LEAST_SURE = 0.8, 4
"""Rounding turns hardly any token that a model is sure of; a fault turns most."""
N_CTX = 4096
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def check_answers(
    session: Session, origin: Origin, folder: Path, made: ModelInfo
) -> Iterator[Finding]:
    """Hold the first tokens of a GGUF's answers to those that the trained model is sure of.

    Args:
        folder: what was converted, merged.
        made: the GGUF.

    Raises:
        ModelRejected: llama.cpp can't load the GGUF.
        BackendError: a tool is missing, or it failed.
    """
    compared = _compared(session, origin, folder, made)
    if compared is None:
        return
    sure, same = compared
    if sure < LEAST_SURE:
        yield NotRun(
            "answers", f"{origin.name} is sure of no answer: its GGUF's can't be held against it"
        )
    elif same < LEAST_SAME * sure:
        yield Failed(
            "answers",
            f"{origin.path}: of {sure} tokens that the trained model is sure of, its GGUF answers "
            f"{same} alike: it was not converted right",
            "try another version of the converter: deployq tools install convert; --allow answers "
            "goes on all the same, on your own account",
        )
    else:
        said = f"its GGUF writes {same} of {sure} tokens that the trained model is sure of"
        session.talk(f"{origin.name}: {said}")


def _compared(
    session: Session, origin: Origin, folder: Path, made: ModelInfo
) -> tuple[int, int] | None:
    """Tokens that the trained model is sure of, and how many fit; None: nothing here can tell."""
    gguf = [one for one in session.completers("gguf").values() if one.health().ok]
    followers = [one for one in session.completers("huggingface").values() if one.health().ok]
    able = [one for one in followers if isinstance(one, FollowingCompleter)]
    prompts = list(_prompts(session, origin, made)) if gguf and able else []
    if not prompts or not (folder / "config.json").is_file():
        return None
    memory = memory_bytes()
    if memory is not None and made.file_bytes > memory * MEMORY_SHARE:
        raise BackendError(f"it takes more than {MEMORY_SHARE:.0%} of this machine's memory")
    n_ctx = min(N_CTX, made.n_ctx_train or N_CTX)
    answers = gguf[0].complete(made.files[0], prompts, n_ctx, TOKENS, session.progress)
    said: Sequence[tuple[str, Completion]] = list(zip(prompts, answers, strict=True))
    # what is no text comes back as other tokens than were written
    said = [(prompt, answer) for prompt, answer in said if REPLACEMENT not in answer.text]
    try:
        found = able[0].follow(folder, said, session.progress)
    except (
        SourceError
    ) as exc:  # transformers can't load it, or not here: that is no conversion's fault
        raise BackendError(exc.message, hint=exc.hint) from exc
    return sum(sure for sure, _ in found), sum(same for _, same in found)


def memory_bytes() -> int | None:
    """This machine's memory: a model of its size would be read from the disk for every token."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not every system tells
        return None


def _prompts(session: Session, origin: Origin, made: ModelInfo) -> Iterator[str]:
    """The first prompts of the suite, raw, by the model's own template."""
    template = chat_template_of(made)
    if template is None:
        return
    prompts = [p for p in suite_at(session, origin.settings.suite).prompts if not p.tools]
    asked = [Asked(tuple(map(_turn, prompt.messages))) for prompt in prompts[:PROMPTS]]
    for rendered in render_all(template, asked):
        if rendered.text is not None:
            yield as_sent_raw(template, rendered.text)


def _turn(message: Message) -> Turn:
    return Turn(message.role, message.content)
