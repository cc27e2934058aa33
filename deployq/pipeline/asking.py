"""The same prompts asked in other ways: by a raw prompt, under a bare engine, or not at all.

Each way looks to verification like a server, so that one set of checks judges all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from typing import Protocol

from deployq.errors import BackendError, ServerRefused
from deployq.proof.ended import Ended, up_to_mark, up_to_unseen
from deployq.proof.suites import Suite
from deployq.proof.verify import run_suite
from deployq.records import dataclass
from deployq.tags.chat_template import ChatTemplate
from deployq.tags.server import Server
from deployq.types import (
    Answer,
    Answerer,
    CheckType,
    Completion,
    Json,
    Message,
    Progress,
    Prompt,
    PromptResult,
    RawModel,
    Verdict,
    no_progress,
)

Key = tuple[Message, ...]
THOUGHTS_END = "</think>"
UNANSWERED_IN_A_ROW = 3
DEFAULT_SECONDS = 300.0


def ask_each(
    answerer: Answerer,
    tag: str,
    prompts: Sequence[Prompt],
    checks: Mapping[str, CheckType],
    timeout_seconds: float,
    progress: Progress,
    task: str,
) -> tuple[PromptResult, ...]:
    """Ask every prompt; one that is refused, or not answered in time, has failed.

    After `UNANSWERED_IN_A_ROW` of them the rest is not asked any more, and has failed too.

    Raises:
        ServerUnreachable: nothing answers any more.
    """
    results: list[PromptResult] = []
    unanswered = 0
    progress(task, 0, len(prompts), "prompts")
    for prompt in prompts:
        if unanswered < UNANSWERED_IN_A_ROW:
            results.append(_ask(answerer, tag, prompt, checks, timeout_seconds))
        else:
            results.append(replace(results[-1], prompt=prompt))
        unanswered = unanswered + 1 if results[-1].answer is None else 0
        progress(task, len(results), len(prompts), "prompts")
    return tuple(results)


def _ask(
    answerer: Answerer,
    tag: str,
    prompt: Prompt,
    checks: Mapping[str, CheckType],
    timeout_seconds: float,
) -> PromptResult:
    alone = Suite("", (prompt,), 1.0, "")
    try:
        verification = run_suite(
            answerer, tag, alone, checks, timeout_seconds=timeout_seconds, progress=no_progress
        )
    except (ServerRefused, BackendError) as exc:
        return PromptResult(prompt, None, (Verdict("answered", False, exc.message),))
    return verification.results[0]


# ---------------------------------------------------------------- ways to ask


@dataclass(frozen=True)
class Over:
    """A server whose prompts' options are laid over by others; `model` is asked, if given."""

    server: Server
    options: Mapping[str, Json]
    model: str = ""

    def chat(
        self,
        model: str,
        messages: Iterable[Message],
        *,
        options: Mapping[str, Json],
        format: Json = None,
        think: bool | str = False,
        tools: Sequence[Json] = (),
        timeout_seconds: float | None = None,
    ) -> Answer:
        return self.server.chat(
            self.model or model,
            messages,
            options={**options, **self.options},
            format=format,
            think=think,
            tools=tools,
            timeout_seconds=timeout_seconds,
        )


class _Completes(Protocol):
    def complete(
        self,
        prompt: str,
        *,
        options: Mapping[str, Json],
        format: Json = None,
        timeout_seconds: float,
    ) -> Answer: ...


@dataclass(frozen=True)
class RawTag:
    """A tag of a server as a bare model."""

    server: Server
    tag: str

    def complete(
        self,
        prompt: str,
        *,
        options: Mapping[str, Json],
        format: Json = None,
        timeout_seconds: float,
    ) -> Answer:
        return self.server.generate(
            self.tag,
            prompt,
            raw=True,
            options=options,
            format=format,
            top_logprobs=0,
            timeout_seconds=timeout_seconds,
        )


@dataclass(frozen=True)
class Said:
    """What was answered already, by prompt, as a bare model."""

    answers: Mapping[str, Completion]

    def complete(
        self,
        prompt: str,
        *,
        options: Mapping[str, Json],  # noqa: ARG002  (it was asked greedily)
        format: Json = None,  # noqa: ARG002
        timeout_seconds: float,  # noqa: ARG002
    ) -> Answer:
        said = self.answers[prompt]
        return Answer(said.text, "stop" if said.ended else "length", 0, 0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Raw:
    """A bare model that is sent prompts by their text; its thoughts are left out.

    `prompts` are the texts by conversation. `mark`: how an answer ends; of one that ran on, what
    stands behind that is left out, and `ended` keeps it. None leaves answers as they are. `said`
    keeps what was answered: it is not asked again.
    """

    model: _Completes | RawModel
    prompts: Mapping[Key, str]
    options: Mapping[str, Json] = field(default_factory=dict)
    mark: str | None = None
    said: dict[Key, Answer] = field(default_factory=dict)
    ended: dict[Key, Ended] = field(default_factory=dict)

    def chat(
        self,
        model: str,  # noqa: ARG002  (it is loaded)
        messages: Iterable[Message],
        *,
        options: Mapping[str, Json],
        format: Json = None,
        think: bool | str = False,  # noqa: ARG002  (it is in the prompt)
        tools: Sequence[Json] = (),  # noqa: ARG002  (such prompts are not asked raw)
        timeout_seconds: float | None = None,
    ) -> Answer:
        key, asked = tuple(messages), {**options, **self.options}
        answer = self.said.get(key)
        if answer is None:
            answer = self._complete(key, asked, format, timeout_seconds)
            self.said[key] = answer
        if self.mark is not None and (ended := self._ended(answer, key, asked, format)):
            self.ended[key], answer = ended, ended.answer
        thinking, found, text = answer.text.partition(THOUGHTS_END)
        return replace(answer, text=text.lstrip("\n"), thinking=thinking) if found else answer

    def _complete(
        self, key: Key, options: Mapping[str, Json], format: Json, timeout_seconds: float | None
    ) -> Answer:
        seconds = timeout_seconds or DEFAULT_SECONDS
        prompt = self.prompts[key]
        return self.model.complete(prompt, options=options, format=format, timeout_seconds=seconds)

    def _ended(
        self, answer: Answer, key: Key, options: Mapping[str, Json], format: Json
    ) -> Ended | None:
        if answer.done_reason != "length":
            return None

        def again(tokens: int) -> Answer:
            return self._complete(key, {**options, "num_predict": tokens}, format, None)

        return up_to_mark(answer, self.mark or "") or up_to_unseen(answer, again)


@dataclass(frozen=True)
class Either:
    """A bare model; prompts that have no text for it are asked in a chat."""

    raw: Raw
    chats: Over

    def chat(
        self,
        model: str,
        messages: Iterable[Message],
        *,
        options: Mapping[str, Json],
        format: Json = None,
        think: bool | str = False,
        tools: Sequence[Json] = (),
        timeout_seconds: float | None = None,
    ) -> Answer:
        said = tuple(messages)
        answerer: Raw | Over = self.raw if said in self.raw.prompts else self.chats
        return answerer.chat(
            model,
            said,
            options=options,
            format=format,
            think=think,
            tools=tools,
            timeout_seconds=timeout_seconds,
        )


def as_sent_raw(template: ChatTemplate | None, text: str) -> str:
    """A prompt for a raw request: the tokenizer puts in one BOS by itself where it adds any."""
    if template is None or not (template.adds_bos and template.bos):
        return text
    return text.removeprefix(template.bos)
