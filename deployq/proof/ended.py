"""Answers that ran on over the end of their turn, as they would have been had they stopped there.

A model ends its turn with a mark of its chat template. Where the engine takes that for no end of
an answer, the model goes on and talks to itself. If the mark's token is a control token, it can't
be seen in the text, and no `stop` parameter finds it. An engine shows it among the tokens, as one
without a text; Ollama leaves it out there, too, but counts it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from deployq.records import dataclass
from deployq.types import Answer


@dataclass(frozen=True)
class Ended:
    """An answer up to its end mark, and whether that was written out as text or not."""

    answer: Answer
    seen: Literal["text", "token"]


def up_to_mark(answer: Answer, mark: str) -> Ended | None:
    """The answer up to the first end mark; None where it has none.

    Args:
        mark: how the mark is written; "" where nobody knows.
    """
    text, found, _ = answer.text.partition(mark) if mark else (answer.text, "", "")
    if found:
        return Ended(_cut(answer, text), "text")
    rows = answer.raw.get("logprobs")
    place = _first_unseen(rows) if isinstance(rows, Sequence) else None
    if place is None or not isinstance(rows, Sequence):
        return None
    text = "".join(_text(row) for row in rows[:place])
    return Ended(_cut(answer, text), "token") if answer.text.startswith(text) else None


def up_to_unseen(answer: Answer, again: Callable[[int], Answer]) -> Ended | None:
    """The answer up to the first token that is counted and not shown; None where all are.

    Args:
        again: the same answer of so many tokens at the most.
    """
    if not _hides_some(answer):
        return None
    low, high = 1, answer.tokens
    while low < high:
        middle = (low + high) // 2
        if _hides_some(again(middle)):
            high = middle
        else:
            low = middle + 1
    text = again(low).text
    return Ended(_cut(answer, text), "token") if answer.text.startswith(text) else None


def _hides_some(answer: Answer) -> bool:
    rows = answer.raw.get("logprobs")
    return isinstance(rows, Sequence) and len(rows) < answer.tokens


def _cut(answer: Answer, text: str) -> Answer:
    return replace(answer, text=text, done_reason="stop")


def _first_unseen(rows: Sequence[Any]) -> int | None:
    """The place of the first token that has no text, behind others that have."""
    for place, row in enumerate(rows):
        if place and isinstance(row, Mapping) and not row.get("token") and not row.get("bytes"):
            return place
    return None


def _text(row: Any) -> str:
    return str(row.get("token", "")) if isinstance(row, Mapping) else ""
