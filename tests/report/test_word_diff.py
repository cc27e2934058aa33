"""Words that differ, and foreign texts made visible."""

from __future__ import annotations

import time
from html import unescape

from hypothesis import given
from hypothesis import strategies as st

from deployq.report.page_text import excerpt, visible
from deployq.report.word_diff import word_diff
from tests.report.pages import seen

WORDS = st.lists(st.sampled_from(["a", "b", "due", " ", '"', "{", "\n", "é"]), max_size=40)


@given(WORDS, WORDS)
def test_both_texts_can_be_had_back(one: list[str], other: list[str]) -> None:
    reference, answer = "".join(one), "".join(other)
    found = word_diff(reference, answer, 1000)
    assert "".join(p.text for p in found.parts if p.mark != "new") == reference
    assert "".join(p.text for p in found.parts if p.mark != "gone") == answer
    assert (found.changed == 0) == (reference == answer)


def test_only_the_words_that_differ_are_marked() -> None:
    found = word_diff('{"title": "call the dentist"}', '{"title": "call a dentist"}', 1000)
    marked = [(p.mark, p.text) for p in found.parts if p.mark != "same"]
    assert marked == [("gone", "the"), ("new", "a")]
    assert found.changed == 2


def test_a_late_difference_is_shown_with_what_is_around_it() -> None:
    same = "word " * 5000
    found = word_diff(f"{same}right end", f"{same}wrong end", 400)
    assert found.before > 20_000
    assert ("gone", "right") in [(p.mark, p.text) for p in found.parts]


def test_a_megabyte_takes_no_time() -> None:
    started = time.monotonic()
    word_diff("a b " * 250_000, "b a " * 250_000, 4000)
    assert time.monotonic() - started < 10


@given(st.text(max_size=60))
def test_a_visible_text_holds_no_markup_and_nothing_hidden(text: str) -> None:
    html = str(visible(text))
    assert set(seen(html).elements) <= {"i"}
    assert all(c.isprintable() or c in "\n\t\u200c\u200d" for c in html)
    plain = "".join(c for c in text if c.isprintable() or c in "\n\t")
    if plain == text:
        assert unescape(html) == text


def test_excerpts_count_what_they_leave_out() -> None:
    found = excerpt("abcdef", 3, 2)
    assert (found.text, found.before, found.after) == ("cde", 2, 1)


def test_a_pile_of_marks_is_written_out() -> None:
    """One that runs over the lines above and below would hide what is there."""
    html = str(visible("e\u0301 z" + "\u0301" * 40))
    assert html.startswith("e\u0301 z\u0301\u0301\u0301<i")
    assert html.count("\\u0301") == 37
