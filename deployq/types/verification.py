"""Prompts, answers, and how they were judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from deployq.records import dataclass
from deployq.types.base import Json


@dataclass(frozen=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True)
class Prompt:
    """One verification prompt: a conversation, its options, and the checks on its answer.

    `checks` maps a check's name to its parameters. `format` and `tools` are Ollama's own fields.
    A prompt that is asked `repeat` times passes where the share `pass_rate` of its answers does.
    """

    name: str
    messages: tuple[Message, ...]
    options: Mapping[str, Json] = field(default_factory=dict)
    checks: Mapping[str, Json] = field(default_factory=dict)
    format: Json = None
    think: bool | str = False
    tools: tuple[Json, ...] = ()
    repeat: int = 1
    pass_rate: float = 1.0


@dataclass(frozen=True)
class Answer:
    """What the server answered, with its own counts; seconds are the server's where it has them.

    `ttft` and friends belong to later measurements; `wall_seconds` is the client's clock.
    """

    text: str
    done_reason: str
    prompt_tokens: int
    tokens: int
    eval_seconds: float
    load_seconds: float
    wall_seconds: float
    thinking: str = ""
    raw: Mapping[str, Json] = field(default_factory=dict)

    @property
    def tokens_per_second(self) -> float | None:
        """Generation speed; None where it means nothing (one token, no duration)."""
        return self.tokens / self.eval_seconds if self.tokens > 1 and self.eval_seconds else None


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check; `reason` says in words what was wrong."""

    check: str
    ok: bool
    reason: str = ""


@dataclass(frozen=True)
class PromptResult:
    """What came of one prompt.

    Of one that is asked several times, `answer` and `verdicts` are those of the first try that
    failed (or of the first), and `passes` says how many of `tries` passed.
    """

    prompt: Prompt
    answer: Answer | None
    verdicts: tuple[Verdict, ...]
    tries: int = 1
    passes: int = 0

    @property
    def ok(self) -> bool:
        if self.tries > 1:
            return self.passes >= self.prompt.pass_rate * self.tries
        return self.answer is not None and all(v.ok for v in self.verdicts)


@dataclass(frozen=True)
class Verification:
    """A suite run against one tag. It passed when the share of good prompts is >= `threshold`."""

    suite: str
    tag: str
    threshold: float
    results: tuple[PromptResult, ...]
    seconds: float
    suite_digest: str = ""

    @property
    def passed(self) -> int:
        return sum(result.ok for result in self.results)

    @property
    def ok(self) -> bool:
        return bool(self.results) and self.passed >= self.threshold * len(self.results)

    @property
    def tokens_per_second(self) -> float | None:
        """All generated tokens over all generation seconds, as the server counts them."""
        answers = [r.answer for r in self.results if r.answer and r.answer.tokens_per_second]
        seconds = sum(a.eval_seconds for a in answers)
        return sum(a.tokens for a in answers) / seconds if seconds else None
