"""Foreign texts in a page: harmless, and nothing in them hidden.

A model's answer is hostile until shown otherwise: it may hold markup, terminal codes, overrides
of the direction of writing, or a megabyte of one letter.
"""

from __future__ import annotations

import unicodedata
from html import escape

from markupsafe import Markup

from deployq.records import dataclass

NAME_CHARACTERS = 500
_MARKS = 3
"""So many marks may stand on one letter; a pile of them runs over the lines around it."""
# Part of words and of emoji; between other signs they hide.
_JOINERS = "\u200c\u200d"


@dataclass(frozen=True)
class Excerpt:
    """A part of a text; `before` and `after` count the characters left out."""

    text: str
    before: int = 0
    after: int = 0


def excerpt(text: str, limit: int, start: int = 0) -> Excerpt:
    """At most `limit` characters from `start` on."""
    shown = text[start : start + limit]
    return Excerpt(shown, start, len(text) - start - len(shown))


def visible(text: str) -> Markup:
    """A text for an element's content (not for an attribute).

    Markup is escaped; characters that steer or can't be seen are written out as escapes, in an
    element of their own; line ends stay.
    """
    parts: list[str] = []
    for hidden, run in _runs(text):
        escaped = escape(run, quote=False)
        parts.append(f'<i class="raw">{escaped}</i>' if hidden else escaped)
    return Markup("".join(parts))  # noqa: S704  (every part is escaped)


def named(text: str) -> Markup:
    """A name or a reason, `visible`, cut where no honest one would be so long."""
    found = excerpt(text, NAME_CHARACTERS)
    return visible(found.text + (f"… ({found.after:,} more characters)" if found.after else ""))


def attribute(text: str) -> str:
    """A text on one line for an attribute; the template's autoescaping escapes it."""
    line = excerpt(text, NAME_CHARACTERS).text.replace("\n", " ")
    return "".join(run for _, run in _runs(line))


def _runs(text: str) -> list[tuple[bool, str]]:
    """The text in runs of plain characters and of written-out ones."""
    runs: list[tuple[bool, str]] = []
    if text.isascii() and text.replace("\n", "").isprintable():
        return [(False, text)]
    for place, character in enumerate(text):
        hidden = not _shown(text, place)
        written = _written(character) if hidden else character
        if runs and runs[-1][0] == hidden:
            runs[-1] = (hidden, runs[-1][1] + written)
        else:
            runs.append((hidden, written))
    return runs


def _shown(text: str, place: int) -> bool:
    character = text[place]
    if unicodedata.combining(character):
        before = text[max(0, place - _MARKS) : place]
        return len(before) < _MARKS or not all(map(unicodedata.combining, before))
    if character in "\n\t" or character.isprintable():
        return True
    around = text[max(0, place - 1) : place] + text[place + 1 : place + 2]
    return character in _JOINERS and len(around) == 2 and not any(c.isascii() for c in around)


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
