"""Is a quant not worse than full precision? And the smallest one that isn't, by few questions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from deployq.proof.gate import judge_quality
from deployq.proof.rules import Rules
from deployq.proof.summaries import decide_checks, decide_perplexity, decide_same_top
from deployq.types import Decision, Evidence, Quality

# Two of a hundred prompts: what a loss may be and still count as none.
CHECKS_MARGIN = 0.02


def evidence_of(quality: Quality, rules: Rules, margin: float = CHECKS_MARGIN) -> Evidence:
    """What speaks for and against one quant.

    The figure that counts most comes first: passed prompts, then the answer perplexity, then the
    tokens that stay the likeliest, where a share of them is asked for. The first one that can tell
    decides; a loss that any of them shows speaks against the quant.

    Args:
        margin: the loss in the share of passed prompts that counts as none; the margin of the
            answer perplexity is `rules.perplexity_warn`.
    """
    verdict = judge_quality(quality, rules)
    decisions = tuple(_decisions(quality, rules, margin))
    decided_by = next((d.what for d in decisions if d.call == "not worse"), "")
    against = [f"{rule.rule}: {rule.reason}" for rule in verdict.failed]
    against += [_in_words(d) for d in decisions if d.call == "worse"]
    if not against and not decided_by:
        against = [_in_words(d) for d in decisions] or ["there is nothing to judge it by"]
    return Evidence(quality, verdict, decisions, not against, "; ".join(against), decided_by)


def _decisions(quality: Quality, rules: Rules, margin: float) -> Iterator[Decision]:
    if quality.baseline_verification is not None:
        yield decide_checks(
            quality.baseline_verification, quality.verification, margin, rules.confidence
        )
    if quality.agreement is not None:
        yield decide_perplexity(quality.agreement, rules.perplexity_warn)
        if rules.agreement is not None:
            yield decide_same_top(quality.agreement, rules.agreement)


def _in_words(decision: Decision) -> str:
    needed = decision.prompts_needed
    more = f", {needed} prompts would tell" if needed else ""
    return (
        f"{decision.what}: {decision.call} at a margin of {decision.margin:.0%} and "
        f"{decision.loss.confidence:.1%} confidence{more}"
    )


# Quality is no ladder: a quant may be better than a larger one. Below the choice so many in a row
# must fail before the search ends.
FAILURES_BELOW = 2


def smallest_holding(
    best_first: Sequence[str],
    sizes: Mapping[str, int],
    judge: Callable[[str], Evidence],
    *,
    exhaustive: bool = False,
) -> tuple[str | None, list[Evidence]]:
    """The smallest quant that holds, and the evidence in the order of judging.

    The catalogue's order is a prediction. Bisection by it, over those that no better one undercuts,
    comes near the border by few builds; then what is smaller than the choice is judged, the best
    predicted first, until `FAILURES_BELOW` in a row don't hold.

    Args:
        best_first: quants by their predicted loss.
        sizes: their bytes.
        exhaustive: judge every one.

    Returns:
        The quant (None: none holds), and the evidence.
    """
    judged: dict[str, Evidence] = {}

    def holds(quant: str) -> bool:
        if quant not in judged:
            judged[quant] = judge(quant)
        return judged[quant].holds

    def smallest() -> str | None:
        held = [quant for quant in judged if judged[quant].holds]
        return min(held, key=lambda quant: sizes[quant], default=None)

    if exhaustive:
        for quant in best_first:
            holds(quant)
        return smallest(), list(judged.values())
    ladder = without_undercut(best_first, sizes)
    low, high = -1, len(ladder)  # ladder[low] holds, ladder[high] does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(ladder[middle]) else (low, middle)
    failures = 0
    while failures < FAILURES_BELOW:
        chosen = smallest()
        limit = math.inf if chosen is None else sizes[chosen]
        below = (q for q in best_first if q not in judged and sizes[q] < limit)
        if (next_below := next(below, None)) is None:
            break
        failures = 0 if holds(next_below) else failures + 1
    return smallest(), list(judged.values())


def without_undercut(best_first: Sequence[str], sizes: Mapping[str, int]) -> list[str]:
    """Quants, best first, none of which is as large as a better one."""
    kept: list[str] = []
    for quant in best_first:
        if not kept or sizes[quant] < sizes[kept[-1]]:
            kept.append(quant)
    return kept
