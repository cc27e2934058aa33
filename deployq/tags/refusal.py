"""What a server says when it does not do what it was asked to."""

from __future__ import annotations

import json

MAX_WORDS = 400


class Refusal(Exception):
    """An error in a server's own words; `status` is the HTTP status, None inside a stream."""

    def __init__(self, words: str, status: int | None = None) -> None:
        super().__init__(words)
        self.words = words
        self.status = status

    @classmethod
    def read(cls, text: str, status: int) -> Refusal:
        """Read an error answer; what is no JSON object is taken as it is."""
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            return cls(text, status)
        known = isinstance(answer, dict) and "error" in answer
        return cls(str(answer["error"]) if known else text, status)


def words_of(text: object) -> str:
    """A text on one line, cut where it is too long for a message."""
    words = " ".join(str(text).split())
    return words if len(words) <= MAX_WORDS else f"{words[:MAX_WORDS]} ..."
