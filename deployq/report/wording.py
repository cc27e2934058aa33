"""Figures and foreign texts as a terminal shows them."""

from __future__ import annotations

from collections.abc import Mapping

from deployq.types import Fit, Speed, Target

FIT_MARKS: Mapping[Fit, str] = {"fits": "✓ fits", "tight": "~ tight", "no": "✗ no"}
FIT_STYLES: Mapping[Fit, str] = {"fits": "green", "tight": "yellow", "no": "red"}
CHOSEN = "►"
NOTHING = "–"
GOOD, BAD = "✓", "✗"
FASTEST = 1000


def plain(text: str) -> str:
    """A foreign text on one line, unable to steer a terminal.

    Line ends become "⏎", other control characters and invisible ones their escapes.
    """
    lines = text.replace("\r\n", "\n").replace("\n", "⏎").replace("\t", " ")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in lines)


def one_line(text: str, limit: int) -> str:
    """`plain` text, cut to `limit` characters in all."""
    line = plain(text)
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def both_ends(text: str, limit: int) -> str:
    """`plain` text of at most `limit` characters; what is cut out is cut from its middle."""
    line, kept = plain(text), limit - 1
    return line if len(line) <= limit else f"{line[: kept - kept // 2]}…{line[-(kept // 2) :]}"


def seconds_text(seconds: float) -> str:
    """A duration for people: "0.4 s", "43 s", "3 min 20 s"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def parameters_text(n_params: int) -> str:
    """A number of parameters: "7.3M", "8.03B"."""
    if n_params >= 10**9:
        return f"{n_params / 10**9:.2f}B"
    if n_params >= 10**6:
        return f"{n_params / 10**6:.1f}M"
    return f"{n_params:,}"


def count(number: int, noun: str) -> str:
    """A number of things: "1 tag", "2 tags", "2 aliases"."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def serving_text(target: Target) -> str:
    """What a model is loaded with on a target; what is Ollama's default is left out."""
    serving = target.serving
    without = "" if serving.flash_attention else ", no flash attention"
    several = f", parallel {serving.parallel}" if serving.parallel > 1 else ""
    return f"context {target.n_ctx}, cache {target.cache_type}{without}{several}"


def speed_text(speed: Speed) -> str:
    """Estimated tokens per second as a range: "45-90"; one decimal below ten.

    Beyond a thousand, memory is no longer what a token waits for: the figures mean nothing.
    """
    if speed.low >= FASTEST:
        return f"over {FASTEST}"
    digits = 0 if speed.low >= 10 else 1
    low, high = f"{speed.low:.{digits}f}", f"{speed.high:.{digits}f}"
    return low if low == high else f"{low}–{high}"
