"""One answer of the baseline, scored under another tag to its last token.

The tag is asked with the baseline's own raw prompt. While its tokens are the baseline's, each
place is scored; at the first other token the answer is taken up again from the baseline's text
just after it, and so on to the end. So every token counts, at about the cost of generating it
once, with nothing but the server's API (log probabilities of generated tokens).

A text that is taken up again may be cut into other tokens than the model once wrote. That shows
in the server's count of prompt tokens; such places are left out and counted. Whether a place can
be taken up does not depend on the quant, so it is asked once per baseline (`Seams`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field, replace

from deployq.proof.scoring import kl_lower_bound, nll_of, same_top
from deployq.proof.tracing import Asker, gathered
from deployq.types import End, Piece, Position, PromptAgreement, TokenStep, TracedAnswer

# step number -> can the answer be taken up before that step?
Seams = MutableMapping[int, bool]


def follow(
    asker: Asker, answer: TracedAnswer, seams: Seams, *, own_tokens: int | None = None
) -> PromptAgreement:
    """Score every token of a baseline's answer under the tag of `asker`.

    Args:
        seams: what is known of where this answer can be taken up; added to.
        own_tokens: let the tag's own answer run to its end (of so many tokens at most) and
            keep it; None: its answer is closed at the first other token.

    Raises:
        ServerTimeout, ServerRefused, ServerUnreachable: the server does not go on.
    """
    return _Following(asker, answer, seams).run(own_tokens)


@dataclass
class _Following:
    asker: Asker
    answer: TracedAnswer
    seams: Seams
    positions: dict[int, Position] = field(default_factory=dict)
    left_out: dict[int, str] = field(default_factory=dict)
    first_difference: int | None = None
    bounded: int = 0
    end: End = "cut"

    def run(self, own_tokens: int | None) -> PromptAgreement:
        started = time.monotonic()
        before = (self.asker.asked.requests, self.asker.asked.tokens)
        at, own = self._first(own_tokens)
        while at is not None:
            at = self._again(at)
        return PromptAgreement(
            prompt=self.answer.prompt,
            positions=tuple(self.positions[index] for index in sorted(self.positions)),
            end=self.end,
            first_difference=self.first_difference,
            requests=self.asker.asked.requests - before[0],
            tokens=self.asker.asked.tokens - before[1],
            seconds=time.monotonic() - started,
            retokenized=sum(why == "retokenized" for why in self.left_out.values()),
            merged=sum(why == "merged" for why in self.left_out.values()),
            bounded=self.bounded,
            own=own if own_tokens else None,
            cached_tokens=own.cached_tokens if own else None,
        )

    # ------------------------------------------------------------ the stretches

    def _first(self, own_tokens: int | None) -> tuple[int | None, TracedAnswer | None]:
        """From the start of the answer; the tag's own one where it was read to its end."""
        answer, started = self.answer, time.monotonic()
        tokens = own_tokens or self._tokens_from(0)
        with self.asker.stream(answer.rendered, tokens, answer.format) as pieces:
            seen: list[Piece] = []
            at = self._compare(0, _kept(pieces, seen))
            if own_tokens and not seen[-1].last:
                seen += pieces
        if not seen[-1].last:
            return at, None
        seconds = time.monotonic() - started
        return at, gathered(answer.prompt, answer.rendered, seen, seconds, answer.format)

    def _again(self, at: int) -> int | None:
        """From step `at`; the step to go on from, or None at the end."""
        prompt = self.answer.rendered + "".join(step.text for step in self.answer.steps[:at])
        if at not in self.seams:
            step, last = self.asker.next_token(prompt)
            self.seams[at] = self._fits(at, last)
            if self.seams[at] and not self._is_next(at, step):
                return self._compare(at, [replace(last, steps=(step,) if step else ())])
        if not self.seams[at]:
            return self._skip(at)
        with self.asker.stream(prompt, self._tokens_from(at)) as pieces:
            return self._compare(at, pieces)

    def _skip(self, at: int) -> int | None:
        if at >= len(self.answer.steps):
            return None
        self.left_out[at] = "retokenized"
        return at + 1

    def _fits(self, at: int, last: Piece) -> bool:
        """Whether the text up to here was cut into the very tokens that the baseline wrote."""
        if any(step.merged for step in self.answer.steps[:at]):
            return True  # how many tokens those are is not known
        return last.prompt_tokens == self.answer.prompt_tokens + at

    def _is_next(self, at: int, step: TokenStep | None) -> bool:
        steps = self.answer.steps
        return step is not None and at < len(steps) and step.text == steps[at].text

    def _tokens_from(self, at: int) -> int:
        """Enough to see whether the tag ends where the baseline did."""
        return max(self.answer.tokens, len(self.answer.steps)) - at + 1

    # ------------------------------------------------------------ the places

    def _compare(self, at: int, pieces: Iterable[Piece]) -> int | None:
        """Score pieces against the steps from `at` on; where to go on after a difference."""
        steps = self.answer.steps
        for piece in pieces:
            for step in piece.steps:
                if at == len(steps):
                    self._ended(late=True)
                    return None
                self._score(at, step)
                if step.text != steps[at].text:
                    return self._differs(at)
                at += 1
            if piece.last and at < len(steps):
                return self._stopped_early(at, piece)
        self._ended(late=False)
        return None

    def _differs(self, at: int) -> int:
        if self.first_difference is None:
            self.first_difference = at
        return at + 1

    def _stopped_early(self, at: int, last: Piece) -> int:
        if last.done_reason == "stop":
            self.positions[at] = Position(at, same_top=False)
            prompt = self.answer.rendered + "".join(s.text for s in self.answer.steps[:at])
            if (drawn := self.asker.drawn(prompt)) is not None:
                self._score(at, drawn)
            if self.first_difference is None:
                self.end = "early"
        else:  # the engine gave up
            self.left_out[at] = "retokenized"
        return self._differs(at)

    def _ended(self, *, late: bool) -> None:
        """The baseline's answer is over; did the tag end, too?"""
        at = len(self.answer.steps)
        if self.answer.done_reason != "stop":
            return
        self.positions[at] = Position(at, same_top=not late)
        if self.end != "early":
            self.end = "late" if late else "same"
        if late and self.first_difference is None:
            self.first_difference = at

    def _score(self, at: int, step: TokenStep) -> None:
        base = self.answer.steps[at]
        if base.merged or step.merged:
            self.left_out[at] = "merged"
            return
        nll, bounded = nll_of(base.text, step)
        if at not in self.positions or self.positions[at].nll is None:
            self.bounded += bounded
        self.positions[at] = Position(
            at, same_top(base, step), kl_lower_bound(base, step), nll, -base.logprob
        )


def _kept(pieces: Iterable[Piece], seen: list[Piece]) -> Iterable[Piece]:
    for piece in pieces:
        seen.append(piece)
        yield piece
