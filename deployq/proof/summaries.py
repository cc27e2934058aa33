"""What a measurement comes to: figures with intervals, stretches of the answers, decisions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from deployq.proof.statistics import (
    CONFIDENCE,
    decide_ratio,
    decide_shares,
    paired_difference,
    ratio_estimate,
)
from deployq.types import (
    Agreement,
    Baseline,
    Cost,
    Decision,
    Estimate,
    Noise,
    Position,
    PromptAgreement,
    PromptResult,
    Stretch,
    Verification,
)


def summarize(
    tag: str,
    quant: str,
    baseline: Baseline,
    found: Sequence[PromptAgreement],
    *,
    noise: Sequence[Noise] = (),
    unanswered: Sequence[str] = (),
    confidence: float = CONFIDENCE,
) -> Agreement:
    """The agreement of one tag.

    Raises:
        ValueError: not one position could be scored.
    """
    scored = [[p for p in one.positions if p.kl is not None] for one in found]
    compared = [[p for p in one.positions if p.same_top is not None] for one in found]
    counts = [float(len(positions)) for positions in scored]
    nll = [sum(_of(p.nll) for p in positions) for positions in scored]
    base = [sum(_of(p.baseline_nll) for p in positions) for positions in scored]
    excess = [a - b for a, b in zip(nll, base, strict=True)]
    return Agreement(
        tag=tag,
        quant=quant,
        baseline_digest=baseline.digest,
        prompts=tuple(found),
        compared=sum(map(len, compared)),
        scored=sum(map(len, scored)),
        same_top=ratio_estimate(
            [float(sum(bool(p.same_top) for p in positions)) for positions in compared],
            [float(len(positions)) for positions in compared],
            confidence=confidence,
            least=0.0,
            most=1.0,
            long_tail="below",
        ),
        kl=ratio_estimate(
            [sum(_of(p.kl) for p in positions) for positions in scored],
            counts,
            confidence=confidence,
            least=0.0,
            long_tail="above",
        ),
        perplexity=ratio_estimate(
            nll, counts, confidence=confidence, least=0.0, long_tail="above", exponential=True
        ),
        baseline_perplexity=ratio_estimate(base, counts, exponential=True).value,
        perplexity_ratio=ratio_estimate(
            excess, counts, confidence=confidence, long_tail="above", exponential=True
        ),
        by_position=tuple(stretches(p for one in found for p in one.positions)),
        noise=tuple(noise),
        noise_floor=max((one.kl for one in (*noise, *baseline.noise)), default=0.0),
        cost=_cost(baseline, found),
        stand_in=baseline.stand_in,
        unanswered=tuple(unanswered),
    )


def _of(value: float | None) -> float:
    assert value is not None, "scored positions have every figure"
    return value


def _cost(baseline: Baseline, found: Sequence[PromptAgreement]) -> Cost:
    names = {one.prompt for one in found}
    return Cost(
        requests=sum(one.requests for one in found),
        tokens=sum(one.tokens for one in found),
        seconds=sum(one.seconds for one in found),
        plain_tokens=sum(a.tokens for a in baseline.answers if a.prompt in names),
    )


def stretches(positions: Iterable[Position]) -> list[Stretch]:
    """Figures by place in the answer: tokens 0, 1, 2-3, 4-7, 8-15 and so on."""
    groups: dict[int, list[Position]] = {}
    for position in positions:
        if position.kl is not None:
            groups.setdefault((position.index).bit_length(), []).append(position)
    return [
        Stretch(
            first=0 if bits == 0 else 2 ** (bits - 1),
            last=max(p.index for p in group),
            positions=len(group),
            same_top=sum(bool(p.same_top) for p in group) / len(group),
            kl=sum(_of(p.kl) for p in group) / len(group),
        )
        for bits, group in sorted(groups.items())
    ]


# ---------------------------------------------------------------- differences and decisions


def kl_difference(one: Agreement, other: Agreement, confidence: float = CONFIDENCE) -> Estimate:
    """KL of `one` minus KL of `other`, paired: the same prompts, the positions that both scored."""
    mine = {found.prompt: found for found in one.prompts}
    theirs = {found.prompt: found for found in other.prompts}
    sums: tuple[list[float], list[float]] = ([], [])
    counts: list[float] = []
    for name in mine.keys() & theirs.keys():
        a = {p.index: _of(p.kl) for p in mine[name].positions if p.kl is not None}
        b = {p.index: _of(p.kl) for p in theirs[name].positions if p.kl is not None}
        both = a.keys() & b.keys()
        sums[0].append(sum(a[index] for index in both))
        sums[1].append(sum(b[index] for index in both))
        counts.append(float(len(both)))
    return paired_difference(*sums, counts, confidence=confidence)


def decide_checks(
    baseline: Verification, quant: Verification, margin: float, confidence: float = CONFIDENCE
) -> Decision:
    """Is the share of passed prompts lower by less than `margin` (0.02: two of a hundred)?"""
    lost, gained = changed_sides(baseline, quant)
    total = len(quant.results)
    return decide_shares("passed prompts", len(lost), len(gained), total, margin, confidence)


def changed_sides(
    baseline: Verification,
    quant: Verification,
    passes: Callable[[PromptResult], bool] = attrgetter("ok"),
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The prompts that only the baseline passes, and those that only the quant passes."""
    before = {result.prompt.name: passes(result) for result in baseline.results}
    both = [
        (r.prompt.name, before[r.prompt.name], passes(r))
        for r in quant.results
        if r.prompt.name in before
    ]
    lost = tuple(name for name, then, now in both if then and not now)
    gained = tuple(name for name, then, now in both if now and not then)
    return lost, gained


def decide_perplexity(agreement: Agreement, margin: float) -> Decision:
    """Is the answer perplexity up by less than `margin` (0.05: 5 %)?"""
    loss = shifted(agreement.perplexity_ratio, -1.0)
    return decide_ratio("answer perplexity", loss, margin, len(agreement.prompts))


def decide_same_top(agreement: Agreement, least: float) -> Decision:
    """Do fewer than 1 - `least` of the tokens lose their place as the likeliest?"""
    same = agreement.same_top
    lost = Estimate(
        1 - same.value,
        None if same.high is None else 1 - same.high,
        None if same.low is None else 1 - same.low,
        same.confidence,
    )
    return decide_ratio("same tokens", lost, 1 - least, len(agreement.prompts))


def shifted(estimate: Estimate, by: float) -> Estimate:
    """An estimate with `by` added to the figure and to both ends."""
    low = None if estimate.low is None else estimate.low + by
    high = None if estimate.high is None else estimate.high + by
    return Estimate(estimate.value + by, low, high, estimate.confidence)
