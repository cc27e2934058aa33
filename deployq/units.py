"""Sizes in bytes as people write and read them: "24GB" is 24 x 10^9, "24GiB" is 24 x 2^30."""

from __future__ import annotations

import re

from deployq.errors import ConfigError

_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
_SIZE = r"\s*([0-9]+(?:\.[0-9]+)?)\s*(?:([kmgt])(i?))?b\s*"
_AGE = r"\s*([0-9]+(?:\.[0-9]+)?)\s*([smhd])\s*"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")


def parse_bytes(text: str) -> int:
    """Bytes of a size such as "24GB", "1.5 GiB" or "512 MiB".

    Raises:
        ConfigError: no size, or a bare number, which could mean anything.
    """
    match = re.fullmatch(_SIZE, text, re.IGNORECASE)
    if not match:
        why = "a number without a unit" if re.fullmatch(r"\s*[\d.]+\s*", text) else "not a size"
        raise ConfigError(f"{text!r} is {why}", hint="write it as 24GB (10^9) or 24GiB (2^30)")
    number, prefix, binary = match.groups()
    unit: int = (1024 if binary else 1000) ** _POWERS.get((prefix or "").lower(), 0)
    whole, _, part = number.partition(".")
    exact: int = int(whole + part) * unit // 10 ** len(part)
    return exact


def parse_age(text: str) -> float:
    """Seconds of an age such as "90s", "30m", "2h" or "7d".

    Raises:
        ConfigError: it is none.
    """
    match = re.fullmatch(_AGE, text, re.IGNORECASE)
    if not match:
        raise ConfigError(f"{text!r} is no age", hint="write it as 30m, 2h or 7d; 0s for any")
    return float(match[1]) * _SECONDS[match[2].lower()]


def format_bytes(n_bytes: int) -> str:
    """Bytes for people, in binary units with one decimal: "4.6 GiB", "98.9 MiB", "12 B"."""
    if abs(n_bytes) < 1024:
        return f"{n_bytes} B"
    value, power = float(n_bytes), 0
    while abs(round(value, 1)) >= 1024 and power < len(_BINARY) - 1:
        value, power = value / 1024, power + 1
    return f"{value:.1f} {_BINARY[power]}"
