"""Raw, greedy answers token by token, and the few requests that agreement is made of."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

from deployq.errors import ServerRefused
from deployq.types import Json, Piece, TokenStep, TracedAnswer, Tracer

TOP_LOGPROBS = 20
# Greedy, and nothing that would bend the model's own choice.
GREEDY: Mapping[str, Json] = {
    "temperature": 0,
    "seed": 42,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
# Draws any of the likeliest tokens: the only way to see log probabilities where a model ends.
DRAW: Mapping[str, Json] = {
    **GREEDY,
    "temperature": 50,
    "top_k": TOP_LOGPROBS,
    "top_p": 1.0,
    "min_p": 0.0,
    "num_predict": 1,
}
DRAWS = 3
# A stuck engine is told by what other answers took, but never sooner than that.
LEAST_SECONDS = 30.0
SLOWER = 20.0
WARMING_REQUESTS = 4
ABORTED = "aborted"


@dataclass
class Asked:
    """What a server was asked for: requests, and tokens that it generated for them.

    `slowest_seconds` is what the slowest piece of an answer took.
    """

    requests: int = 0
    tokens: int = 0
    slowest_seconds: float = 0.0


@dataclass
class Asker:
    """One tag on one server, asked by raw prompts; `asked` counts.

    Args:
        options: laid over `GREEDY` in every request.
        timeout_seconds: for each piece of an answer.
        label: what people know the tag by, where it stands under a name for the while.
    """

    tracer: Tracer
    tag: str
    timeout_seconds: float
    options: Mapping[str, Json] = field(default_factory=dict)
    asked: Asked = field(default_factory=Asked)
    label: str = ""

    @property
    def shown(self) -> str:
        """What people know the tag by."""
        return self.label or self.tag

    @property
    def patience_seconds(self) -> float:
        """How long to wait for a piece: told by what the slowest took, once some were seen.

        Raising the limit needs no more than one slow answer; a stuck engine is seen early.
        """
        if self.asked.requests <= WARMING_REQUESTS:
            return self.timeout_seconds
        return min(self.timeout_seconds, max(LEAST_SECONDS, SLOWER * self.asked.slowest_seconds))

    @contextlib.contextmanager
    def stream(self, prompt: str, tokens: int, format: Json = None) -> Generator[Generator[Piece]]:
        """The answer to a raw prompt in pieces; leaving the block stops the server.

        An engine that gives up in the middle (it does so on endless repetition) ends the answer
        with the reason `ABORTED`.
        """
        self.asked.requests += 1
        options = {**GREEDY, **self.options, "num_predict": tokens}
        pieces = self.tracer.stream(
            self.tag,
            prompt,
            options=options,
            format=format,
            top_logprobs=TOP_LOGPROBS,
            timeout_seconds=self.patience_seconds,
        )
        with contextlib.closing(self._counted(pieces)) as counted:
            yield counted

    def _counted(self, pieces: Generator[Piece]) -> Generator[Piece]:
        read, since = 0, time.monotonic()
        try:
            for piece in pieces:
                now = time.monotonic()
                self.asked.slowest_seconds = max(self.asked.slowest_seconds, now - since)
                since = now
                read = piece.tokens if piece.last else read + len(piece.steps)
                yield piece
        except ServerRefused as exc:
            if exc.status is not None:
                raise
            yield Piece("", done_reason=ABORTED, tokens=read)
        finally:
            self.asked.tokens += read
            pieces.close()

    def next_token(self, prompt: str) -> tuple[TokenStep | None, Piece]:
        """The next token, None where the model ends, and the piece with the counts."""
        with self.stream(prompt, 1) as pieces:
            seen = list(pieces)
        steps = [step for piece in seen for step in piece.steps]
        return (steps[0] if steps else None), seen[-1]

    def drawn(self, prompt: str) -> TokenStep | None:
        """The likeliest next tokens at a place where the model ends its answer.

        The token itself is drawn at random; None where the end was drawn each time.
        """
        for seed in range(DRAWS):
            drawing = Asker(
                self.tracer, self.tag, self.timeout_seconds, {**DRAW, "seed": seed}, self.asked
            )
            step, _ = drawing.next_token(prompt)
            if step is not None:
                return step
        return None


def trace(asker: Asker, name: str, rendered: str, tokens: int, format: Json = None) -> TracedAnswer:
    """A whole greedy answer of at most `tokens` tokens.

    Args:
        name: the prompt's, in its suite.
        rendered: the raw prompt.
    """
    started = time.monotonic()
    with asker.stream(rendered, tokens, format) as pieces:
        seen = list(pieces)
    return gathered(name, rendered, seen, time.monotonic() - started, format)


def gathered(
    name: str, rendered: str, pieces: Sequence[Piece], seconds: float, format: Json
) -> TracedAnswer:
    """The answer that these pieces are."""
    last = pieces[-1]
    return TracedAnswer(
        prompt=name,
        rendered=rendered,
        text="".join(piece.text for piece in pieces),
        done_reason=last.done_reason,
        steps=tuple(step for piece in pieces for step in piece.steps),
        prompt_tokens=last.prompt_tokens,
        cached_tokens=last.cached_tokens,
        tokens=last.tokens,
        eval_seconds=last.eval_seconds,
        wall_seconds=seconds,
        format=format,
        load_seconds=last.load_seconds,
    )
