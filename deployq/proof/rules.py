"""What a gate asks of a tag."""

from __future__ import annotations

from deployq.records import dataclass


@dataclass(frozen=True)
class Rules:
    """What a tag is held to; it fails where a loss is shown, at the confidence that is asked for.

    Args:
        checks_lost: how much smaller the share of prompts that pass may be, gains counted.
        json_validity: no fewer answers that are JSON than the baseline has.
        perplexity_warn, perplexity_fail: how much the answer perplexity may rise (0.05: 5 %).
        agreement: the least share of tokens that stay the likeliest; None: not asked.
        confidence: of the intervals.
        strict: what can't be told fails, too.
        escalate: try the next better quant where this one fails.
    """

    checks_lost: float = 0.02
    json_validity: bool = True
    perplexity_warn: float = 0.05
    perplexity_fail: float = 0.10
    agreement: float | None = None
    confidence: float = 0.95
    strict: bool = False
    escalate: bool = False
