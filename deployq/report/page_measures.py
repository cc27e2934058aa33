"""The measures that a page has of its tags: which figure, how written, what it is held to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployq.report.page_chart import CAP, Measure
from deployq.types import Estimate, Run, RunTag


def measures(run: Run) -> tuple[Measure, ...]:
    """Those that at least one tag has."""
    return tuple(m for m in _all(run) if any(m.figure(tag) for tag in run.tags))


def _all(run: Run) -> Iterator[Measure]:
    yield Measure(
        "same",
        "tokens that stay the likeliest",
        "Tokens that stay the likeliest, against the size of the file",
        same_top,
        percent,
        "higher",
        _limits(run.tags, "agreement", "asked for"),
    )
    limits = _limits(run.tags, "perplexity", "limit") or ((0.0, ""),)
    yield Measure(
        "rise",
        "rise of the answer perplexity",
        "Rise of the perplexity of the full-precision answers, against the size of the file",
        rise,
        signed_percent,
        "lower",
        limits,
        cap=max(value for value, _ in limits) * CAP or None,
    )
    yield Measure(
        "checks",
        "prompts that pass",
        "Prompts that pass, against the size of the file",
        lambda tag: tag.pass_share,
        percent,
        "higher",
        _baseline(run),
        line="reference",
    )


def same_top(tag: RunTag) -> Estimate | None:
    return tag.agreement.same_top if tag.agreement else None


def divergence(tag: RunTag) -> Estimate | None:
    return tag.agreement.kl if tag.agreement else None


def rise(tag: RunTag) -> Estimate | None:
    """How much the answer perplexity rises: 0.05 is 5 %."""
    if tag.agreement is None:
        return None
    ratio = tag.agreement.perplexity_ratio
    low = None if ratio.low is None else ratio.low - 1
    high = None if ratio.high is None else ratio.high - 1
    return Estimate(ratio.value - 1, low, high, ratio.confidence)


def limit_of(tags: Sequence[RunTag], rule: str) -> float | None:
    """What the gate holds tags to by a rule; the strictest where targets differ."""
    found = [r.limit for tag in tags for r in tag.gate if r.rule == rule and r.limit is not None]
    return max(found, default=None)


def _limits(tags: Sequence[RunTag], rule: str, name: str) -> tuple[tuple[float, str], ...]:
    found = {r.limit for tag in tags for r in tag.gate if r.rule == rule and r.limit is not None}
    return tuple((value, f"{name} {percent(value)}") for value in sorted(found))


def _baseline(run: Run) -> tuple[tuple[float, str], ...]:
    known = [prompt.baseline_ok for prompt in run.prompts if prompt.baseline_ok is not None]
    return ((sum(known) / len(known), "full precision"),) if known else ()


def percent(value: float) -> str:
    """`0.958` as "95.8 %"."""
    return f"{_trimmed(100 * value)} %"


def signed_percent(value: float) -> str:
    """`0.05` as "+5 %"."""
    text = _trimmed(100 * value)
    return f"+{text} %" if value > 0 and text != "0" else f"{text} %"


def nats(value: float) -> str:
    """A divergence, with as many digits as it has."""
    return f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}"


def _trimmed(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}".removesuffix(".0") if round(value, 1) else "0"
