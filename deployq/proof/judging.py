"""Is a quant not worse than full precision? And the smallest one that isn't, by few questions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from deployq.proof.gate import judge_quality
from deployq.proof.rules import Rules
from deployq.proof.statistics import paired_shares
from deployq.proof.summaries import decide_checks, decide_perplexity
from deployq.types import Decision, Evidence, Quality

# Two of a hundred prompts: what a loss may be and still count as none.
CHECKS_MARGIN = 0.02


def evidence_of(quality: Quality, rules: Rules, margin: float = CHECKS_MARGIN) -> Evidence:
    """What speaks for and against one quant.

    Args:
        margin: the loss in the share of passed prompts that counts as none; the margin of the
            answer perplexity is `rules.perplexity_warn`.
    """
    verdict = judge_quality(quality, rules)
    decisions = tuple(_decisions(quality, rules, margin))
    against = [f"{rule.rule}: {rule.reason}" for rule in verdict.failed]
    against += [said for decision in decisions if (said := _against(decision, margin, rules))]
    return Evidence(quality, verdict, decisions, not against, "; ".join(against))


def _decisions(quality: Quality, rules: Rules, margin: float) -> Iterator[Decision]:
    if quality.baseline_verification is not None:
        yield decide_checks(
            quality.baseline_verification, quality.verification, margin, rules.confidence
        )
    if quality.agreement is not None:
        yield decide_perplexity(quality.agreement, rules.perplexity_warn)


def _against(decision: Decision, margin: float, rules: Rules) -> str:
    """Why a decision speaks against a quant; "" where it doesn't, or where it can't speak."""
    if decision.call == "not worse":
        return ""
    few = decision.what == "passed prompts" and too_few(decision.prompts, margin, rules.confidence)
    if decision.call == "undecided" and few:
        return ""
    needed = decision.prompts_needed
    more = f", {needed} prompts would tell" if needed else ""
    return (
        f"{decision.what}: {decision.call} at a margin of {decision.margin:.0%} and "
        f"{decision.loss.confidence:.0%} confidence{more}"
    )


def too_few(prompts: int, margin: float, confidence: float) -> bool:
    """Whether so few prompts could not even tell that a quant without any loss is not worse."""
    best = paired_shares(0, 0, prompts, confidence)
    return best.high is None or best.high >= margin


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
