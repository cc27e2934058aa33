"""Sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployq.errors import ConfigError
from deployq.units import format_bytes, parse_age, parse_bytes


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("24GB", 24 * 10**9),
        ("24GiB", 24 << 30),
        ("1.5 GiB", 3 << 29),
        ("512mb", 512 * 10**6),
        ("512 mib", 512 << 20),
        ("8kB", 8000),
        ("2TB", 2 * 10**12),
        ("100B", 100),
        (" 0GB ", 0),
        ("0.1GB", 10**8),
    ],
)
def test_units(text: str, n_bytes: int) -> None:
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize("text", ["24", "1.5", ""])
def test_a_bare_number_could_mean_anything(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_bytes(text)
    assert "24GB" in caught.value.hint
    assert text == "" or "without a unit" in caught.value.message


@pytest.mark.parametrize("text", ["24G", "24GBs", "-1GB", "1e3GB", "GB", "1,5GB", "٣GB", "1.GB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ConfigError, match=r"not a size|without a unit"):
        parse_bytes(text)


@given(st.text(max_size=12))
def test_any_text_gives_a_size_or_our_error(text: str) -> None:
    try:
        n_bytes = parse_bytes(text)
    except ConfigError:
        return
    assert n_bytes >= 0


@given(st.integers(0, 1 << 60))
def test_what_is_shown_reads_back_within_its_last_digit(n_bytes: int) -> None:
    shown = format_bytes(n_bytes)
    assert parse_bytes(shown) == pytest.approx(n_bytes, rel=0.05, abs=0)


@pytest.mark.parametrize(
    ("n_bytes", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (98_870_000, "94.3 MiB"),
        ((1 << 30) - 1, "1.0 GiB"),
        (24 << 30, "24.0 GiB"),
        (5 << 40, "5.0 TiB"),
    ],
)
def test_shown(n_bytes: int, shown: str) -> None:
    assert format_bytes(n_bytes) == shown


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("90s", 90), ("30m", 1800), ("1.5 h", 5400), ("7D", 604800)]
)
def test_ages(text: str, seconds: float) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5", "h", "-1h", "1w"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(ConfigError, match="is no age"):
        parse_age(text)
