"""Is a quant not worse than full precision? And the smallest one that isn't, by few questions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

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


def smallest_holding(
    best_first: Sequence[str], judge: Callable[[str], Evidence]
) -> tuple[str | None, list[Evidence]]:
    """The smallest quant that holds, by bisection: log2(n) + 1 of them are judged at most.

    A quant that is smaller and worse in the catalogue's order is taken to be no better on this
    model: that is what makes bisection right, and why the two around the border are always
    judged themselves.

    Returns:
        The quant (None: none holds), and the evidence in the order of judging.
    """
    judged: list[Evidence] = []
    low, high = -1, len(best_first)  # best_first[low] holds, best_first[high] does not
    while high - low > 1:
        middle = (low + high) // 2
        evidence = judge(best_first[middle])
        judged.append(evidence)
        low, high = (middle, high) if evidence.holds else (low, middle)
    return (best_first[low] if low >= 0 else None), judged
