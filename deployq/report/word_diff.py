"""Two answers, and the words in which they differ."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Literal

from deployq.records import dataclass
from deployq.report.page_text import Excerpt, excerpt
from deployq.report.wording import count

Mark = Literal["same", "gone", "new"]
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")
MOST_WORDS = 600


@dataclass(frozen=True)
class Part:
    """A stretch of words: in both, only in the reference ("gone"), or only in the answer."""

    mark: Mark
    text: str


@dataclass(frozen=True)
class WordDiff:
    """An answer with what differs from a reference: `changed` words, signs and spaces."""

    parts: tuple[Part, ...]
    before: int = 0
    after: int = 0

    @property
    def changed(self) -> int:
        marked = [len(_WORDS.findall(p.text)) for p in self.parts if p.mark != "same"]
        return sum(marked)

    @property
    def said(self) -> str:
        """How much differs, in words."""
        text = "".join(p.text + " " for p in self.parts if p.mark != "same")
        words = len(re.findall(r"\w+", text))
        return f"{count(words, 'word')} changed" if words else "signs or spaces changed"


def word_diff(reference: str, answer: str, limit: int) -> WordDiff:
    """Mark what differs in at most `limit` characters around the first difference."""
    first = _first_difference(reference, answer)
    start = max(0, first - limit // 4) if first > limit // 2 else 0
    one, other = excerpt(reference, limit, start), excerpt(answer, limit, start)
    return WordDiff(tuple(_parts(one, other)), start, other.after)


def _parts(reference: Excerpt, answer: Excerpt) -> Iterator[Part]:
    one, other = _words(reference.text), _words(answer.text)
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    for mark, a, b, c, d in matcher.get_opcodes():
        if mark == "equal":
            yield Part("same", "".join(one[a:b]))
            continue
        if b > a:
            yield Part("gone", "".join(one[a:b]))
        if d > c:
            yield Part("new", "".join(other[c:d]))


def _words(text: str) -> list[str]:
    """The words of a text; what is beyond `MOST_WORDS` counts as one, to end in time."""
    words = _WORDS.findall(text)
    if len(words) > MOST_WORDS:
        return [*words[:MOST_WORDS], "".join(words[MOST_WORDS:])]
    return words


def _first_difference(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
