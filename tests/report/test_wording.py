"""Figures and foreign texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployq.report.wording import (
    count,
    one_line,
    parameters_text,
    plain,
    seconds_text,
    speed_text,
)
from deployq.types import Speed


@given(st.text())
def test_plain_text_is_one_printable_line(text: str) -> None:
    assert plain(text).isprintable()


@given(st.text(), st.integers(1, 50))
def test_a_line_keeps_to_its_limit(text: str, limit: int) -> None:
    assert len(one_line(text, limit)) <= limit


def test_short_text_is_not_cut() -> None:
    assert one_line("abc", 3) == "abc"
    assert one_line("abcd", 3) == "ab…"
    assert plain("a\r\nb\tc\x1b") == "a⏎b c\\x1b"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (43.2, "43 s"),
        (200.4, "3 min 20 s"),
        (3599.7, "60 min 0 s"),
    ],
)
def test_seconds(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("n_params", "text"), [(999, "999"), (7_340_000, "7.3M"), (8_030_261_248, "8.03B")]
)
def test_parameters(n_params: int, text: str) -> None:
    assert parameters_text(n_params) == text


def test_counts() -> None:
    assert [count(1, "alias"), count(2, "alias"), count(0, "tag")] == [
        "1 alias",
        "2 aliases",
        "0 tags",
    ]


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(45.2, 89.7, "45–90"), (2.34, 4.06, "2.3–4.1"), (7, 7, "7.0"), (1000, 1900, "over 1000")],
)
def test_speeds_are_a_range(low: float, high: float, text: str) -> None:
    assert speed_text(Speed(low, (low + high) / 2, high)) == text
