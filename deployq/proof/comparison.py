"""Two runs of a model: what got better, what got worse, and what is noise.

Everything is paired: the same prompts on both sides, so that what makes a prompt hard for both
falls out. A difference counts where its interval does not hold zero, and where it is more than
a tag's distance from itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from deployq.proof.statistics import CONFIDENCE, paired_difference, paired_shares
from deployq.types import (
    ChangeVerdict,
    Estimate,
    FigureChange,
    Run,
    RunAnswer,
    RunComparison,
    RunTag,
    TagChange,
)

Pair = tuple[RunAnswer, RunAnswer]
ORDER: tuple[ChangeVerdict, ...] = ("worse", "better", "same")
QUALITY = frozenset({"checks", "same token", "KL", "perplexity"})


def compare_runs(before: Run, after: Run, confidence: float = CONFIDENCE) -> RunComparison:
    """What changed for the quants that both runs have."""
    old, new = ({tag.quant: tag for tag in run.tags if not tag.alias_of} for run in (before, after))
    tags = [_tag(old[quant], new[quant], confidence) for quant in old if quant in new]
    return RunComparison(
        before,
        after,
        tuple(sorted(tags, key=lambda tag: ORDER.index(tag.verdict))),
        gone=tuple(quant for quant in old if quant not in new),
        added=tuple(quant for quant in new if quant not in old),
        remarks=tuple(_remarks(before, after)),
    )


def _tag(old: RunTag, new: RunTag, confidence: float) -> TagChange:
    answers = {one.prompt: one for one in old.answers}
    pairs = [(answers[one.prompt], one) for one in new.answers if one.prompt in answers]
    figures = tuple(_figures(old, new, pairs, confidence))
    return TagChange(
        tag=new.tag,
        quant=new.quant,
        verdict=_overall(figures),
        figures=figures,
        lost=tuple(a.prompt for a, b in pairs if a.ok and not b.ok),
        gained=tuple(a.prompt for a, b in pairs if b.ok and not a.ok),
        rewritten=tuple(a.prompt for a, b in pairs if a.text != b.text),
    )


def _overall(figures: Sequence[FigureChange]) -> ChangeVerdict:
    """By the quality alone; a file that grew or a machine that was busy makes nothing worse."""
    found = {one.verdict for one in figures if one.figure in QUALITY}
    return "worse" if "worse" in found else "better" if "better" in found else "same"


def _figures(
    old: RunTag, new: RunTag, pairs: Sequence[Pair], confidence: float
) -> Iterator[FigureChange]:
    if old.file_bytes and new.file_bytes:
        yield _size(old.file_bytes, new.file_bytes)
    if pairs:
        yield _checks(pairs, confidence)
    noise = max((t.agreement.noise_floor for t in (old, new) if t.agreement), default=0.0)
    if change := _same_top(pairs, confidence):
        yield change
    if change := _divergence(pairs, noise, confidence):
        yield change
    if change := _perplexity(old, new, pairs, confidence):
        yield change
    if change := _speed(old, new, pairs, confidence):
        yield change


# ---------------------------------------------------------------- the figures


def _size(before: int, after: int) -> FigureChange:
    """Some runs count a tag's template and parameters, too: a thousandth is no difference."""
    same = abs(after - before) <= before / 1000
    verdict: ChangeVerdict = "same" if same else "worse" if after > before else "better"
    return FigureChange("size", before, after, Estimate(float(after - before)), verdict)


def _checks(pairs: Sequence[Pair], confidence: float) -> FigureChange:
    lost = sum(a.ok and not b.ok for a, b in pairs)
    gained = sum(b.ok and not a.ok for a, b in pairs)
    total = len(pairs)
    loss = paired_shares(lost, gained, total, confidence)
    before, after = (sum(a.ok for a, _ in pairs) / total, sum(b.ok for _, b in pairs) / total)
    return FigureChange("checks", before, after, _negated(loss), _call(loss), total)


def _same_top(pairs: Sequence[Pair], confidence: float) -> FigureChange | None:
    def share(answer: RunAnswer) -> float:
        return answer.same_top / answer.positions

    both = [(a, b) for a, b in pairs if a.positions and b.positions]
    found = _paired(both, share, lambda answer: answer.positions, confidence)
    if found is None:
        return None
    before, after, difference = found
    verdict = _call(_negated(difference))
    return FigureChange("same token", before, after, difference, verdict, len(both))


def _divergence(pairs: Sequence[Pair], noise: float, confidence: float) -> FigureChange | None:
    both = [(a, b) for a, b in pairs if a.kl is not None and b.kl is not None]
    found = _paired(both, lambda answer: answer.kl or 0.0, _scored, confidence)
    if found is None:
        return None
    before, after, difference = found
    verdict = "same" if abs(difference.value) <= noise else _call(difference)
    return FigureChange("KL", before, after, difference, verdict, len(both), noise)


def _perplexity(
    old: RunTag, new: RunTag, pairs: Sequence[Pair], confidence: float
) -> FigureChange | None:
    """How much dearer the full-precision answers became: each over its own full precision."""
    if old.agreement is None or new.agreement is None:
        return None
    both = [(a, b) for a, b in pairs if a.excess_nll is not None and b.excess_nll is not None]
    found = _paired(both, lambda answer: answer.excess_nll or 0.0, _scored, confidence)
    if found is None:
        return None
    ratio = _shaped(found[2], math.expm1)
    before, after = (tag.perplexity_ratio.value for tag in (old.agreement, new.agreement))
    return FigureChange("perplexity", before, after, ratio, _call(ratio), len(both))


def _speed(
    old: RunTag, new: RunTag, pairs: Sequence[Pair], confidence: float
) -> FigureChange | None:
    if not old.tokens_per_second or not new.tokens_per_second:
        return None
    both = [(a, b) for a, b in pairs if all(one.tokens and one.seconds for one in (a, b))]
    found = _paired(both, _log_pace, lambda _: 1, confidence)
    if found is None:
        return None
    slower = found[2]
    faster = _shaped(_negated(slower), math.expm1)
    speeds = (old.tokens_per_second, new.tokens_per_second)
    return FigureChange("speed", *speeds, faster, _call(slower), len(both))


def _log_pace(answer: RunAnswer) -> float:
    """The logarithm of seconds per token."""
    return math.log((answer.seconds or 1.0) / (answer.tokens or 1))


def _scored(answer: RunAnswer) -> int:
    return answer.scored


# ---------------------------------------------------------------- arithmetic


def _paired(
    pairs: Sequence[Pair],
    mean: Callable[[RunAnswer], float],
    weight: Callable[[RunAnswer], int],
    confidence: float,
) -> tuple[float, float, Estimate] | None:
    """Weighted means before and after, and their difference; None where nothing is in both."""
    counts = [float(min(weight(a), weight(b))) for a, b in pairs]
    if not any(counts):
        return None
    old, new = (
        [mean(one) * n for one, n in zip(side, counts, strict=True)]
        for side in zip(*pairs, strict=True)
    )
    whole = math.fsum(counts)
    difference = paired_difference(new, old, counts, confidence=confidence)
    return math.fsum(old) / whole, math.fsum(new) / whole, difference


def _call(loss: Estimate) -> ChangeVerdict:
    """Of a difference that is a loss where it is above zero."""
    if loss.low is None or loss.high is None:
        return "same"
    return "worse" if loss.low > 0 else "better" if loss.high < 0 else "same"


def _negated(estimate: Estimate) -> Estimate:
    low, high = estimate.low, estimate.high
    return Estimate(
        -estimate.value,
        None if high is None else -high,
        None if low is None else -low,
        estimate.confidence,
    )


def _shaped(estimate: Estimate, shape: Callable[[float], float]) -> Estimate:
    low = None if estimate.low is None else shape(estimate.low)
    high = None if estimate.high is None else shape(estimate.high)
    return Estimate(shape(estimate.value), low, high, estimate.confidence)


# ---------------------------------------------------------------- what limits it


def _remarks(before: Run, after: Run) -> Iterator[str]:
    if before.model != after.model:
        yield f"the models are called differently: {before.model} and {after.model}"
    baselines = {before.baseline_digest, after.baseline_digest} - {None}
    if len(baselines) == 2:
        yield "the baselines differ: each run agrees, or not, with its own"
    asked, now = ({p.name: p.messages for p in run.prompts} for run in (before, after))
    yield from _prompts(asked, now)


def _prompts(before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[str]:
    both = before.keys() & after.keys()
    if len(both) < max(len(before), len(after)):
        yield (
            f"{len(both)} prompts are in both; {len(before) - len(both)} only in the first run, "
            f"{len(after) - len(both)} only in the second"
        )
    known = [name for name in both if before[name] and after[name]]
    changed = sum(before[name] != after[name] for name in known)
    if changed:
        yield f"{changed} prompts have the same name and ask something else"
