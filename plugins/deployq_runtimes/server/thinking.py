"""Thoughts told apart from the answer: `<think>` ... `</think>` at the beginning of a text."""

from __future__ import annotations

OPEN, CLOSE = "<think>", "</think>"


class ThinkSplitter:
    """Takes a text in pieces, gives each piece as (thinking, content).

    Args:
        inside: the prompt has opened the thought already.
    """

    def __init__(self, *, inside: bool) -> None:
        self.inside = inside
        self.decided = inside
        self.held = ""

    def feed(self, piece: str, *, last: bool = False) -> tuple[str, str]:
        """What is certain by now of all that was fed; the `last` piece leaves nothing held."""
        text = self.held + piece
        self.held = ""
        if not self.decided:
            stripped = text.lstrip()
            if not last and OPEN.startswith(stripped[: len(OPEN)]) and len(stripped) < len(OPEN):
                self.held = text
                return "", ""
            self.decided = True
            if stripped.startswith(OPEN):
                self.inside, text = True, stripped.removeprefix(OPEN)
        return self._split(text, last=last) if self.inside else ("", text)

    def _split(self, text: str, *, last: bool) -> tuple[str, str]:
        thought, closed, rest = text.partition(CLOSE)
        if closed:
            self.inside = False
            return thought, rest.lstrip()
        keep = 0 if last else _overlap(text, CLOSE)
        self.held = text[len(text) - keep :]
        return text[: len(text) - keep], ""


def _overlap(text: str, mark: str) -> int:
    """How many characters at the end of `text` may be the beginning of `mark`."""
    longest = min(len(text), len(mark) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(mark[:n])), 0)
