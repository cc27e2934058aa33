"""How often verdicts err: `python -m benchmarks.simulated_verdicts` (about two minutes).

Suites of 5 to 300 prompts are drawn whose truth is known, and judged as a push and `recommend`
judge them: quants that lose nothing, and quants that lose exactly the margin. Prints Markdown
tables for docs/quality.md.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from deployq import __version__
from deployq.proof.intervals import paired_interval, ratio_interval
from deployq.proof.statistics import sign_test

Vector = NDArray[np.float64]
PROMPTS = (5, 10, 25, 60, 150, 300)
SUITES = 2000
CONFIDENCE = 0.95
MARGIN = 0.05
LOOKS = 12
CHECKS_MARGIN = 0.02


def gamma(rng: np.random.Generator, lengths: Vector) -> Vector:
    """Losses per token with a tail: most prompts lose little, some four times the average."""
    return rng.gamma(2.0, 0.5, len(lengths))


def lognormal(rng: np.random.Generator, lengths: Vector) -> Vector:
    """A longer tail: one prompt of a hundred loses five times the average."""
    return rng.lognormal(-0.32, 0.8, len(lengths))


def normal(rng: np.random.Generator, lengths: Vector) -> Vector:
    """Losses and gains: two prompts of a hundred and fifty gain."""
    return rng.normal(1.0, 0.45, len(lengths))


def growing(rng: np.random.Generator, lengths: Vector) -> Vector:
    """Long answers lose more per token; the average over tokens is one."""
    return gamma(rng, lengths) * (1 + (lengths - 22) / 60) / _GROWTH


_LENGTHS = np.arange(5, 40)
_GROWTH = float((_LENGTHS * (1 + (_LENGTHS - 22) / 60)).mean() / _LENGTHS.mean())
SHAPES: tuple[Callable[[np.random.Generator, Vector], Vector], ...] = (
    gamma, lognormal, normal, growing,
)  # fmt: skip


def main() -> None:
    """Print the rates."""
    print(f"deployq {__version__}, Python {platform.python_version()}, {SUITES} suites a figure\n")
    print("| losses by prompt | prompts | truth above the interval | below |")
    print("|---|---:|---:|---:|")
    for shape in SHAPES:
        for prompts in PROMPTS:
            above, below = interval_errors(shape, prompts)
            print(f"| {shape.__name__} | {prompts} | {above:.1%} | {below:.1%} |")
    print(
        f"\n| prompts | answers that change | equally good, called worse | by JSON | loses "
        f"{CHECKS_MARGIN:.0%}, called not worse |"
    )
    print("|---:|---:|---:|---:|---:|")
    for row in check_errors():
        print(row)
    print(f"\n| prompts | {LOOKS} quants at the margin: one is picked |")
    print("|---:|---:|")
    for prompts in PROMPTS:
        print(f"| {prompts} | {picked_at_the_margin(prompts):.1%} |")


def interval_errors(
    shape: Callable[[np.random.Generator, Vector], Vector], prompts: int
) -> tuple[float, float]:
    """How often the truth lies above and below an interval of the answer perplexity."""
    rng = np.random.default_rng(prompts)
    above = below = 0
    for _ in range(SUITES):
        low, high = _interval(rng, shape, prompts, CONFIDENCE)
        above += high < 1
        below += low > 1
    return above / SUITES, below / SUITES


def _interval(
    rng: np.random.Generator,
    shape: Callable[[np.random.Generator, Vector], Vector],
    prompts: int,
    confidence: float,
) -> tuple[float, float]:
    lengths = rng.integers(5, 40, prompts).astype(float)
    losses = shape(rng, lengths)
    return ratio_interval((losses * lengths).tolist(), lengths.tolist(), confidence, "above")


def check_errors() -> Iterator[str]:
    """Rates of the rules on passed prompts."""
    rng = np.random.default_rng(1)
    tail = (1 - CONFIDENCE) / 2
    for prompts in (*PROMPTS, 1000):
        for churn in (0.01, 0.03):
            accused = by_json = missed = 0
            for _ in range(SUITES):
                lost, gained, _rest = rng.multinomial(prompts, [churn, churn, 1 - 2 * churn])
                accused += paired_interval(lost, gained, prompts, CONFIDENCE)[0] >= CHECKS_MARGIN
                by_json += sign_test(int(lost), int(gained)) <= tail
                worse = [churn + CHECKS_MARGIN, churn, 1 - 2 * churn - CHECKS_MARGIN]
                lost, gained, _rest = rng.multinomial(prompts, worse)
                missed += paired_interval(lost, gained, prompts, CONFIDENCE)[1] < CHECKS_MARGIN
            rates = [f"{count / SUITES:.1%}" for count in (accused, by_json, missed)]
            yield f"| {prompts} | {churn:.0%} each way | {' | '.join(rates)} |"


def picked_at_the_margin(prompts: int) -> float:
    """How often a search picks one of quants that all lose exactly the margin."""
    rng = np.random.default_rng(prompts)
    confidence = 1 - (1 - CONFIDENCE) / LOOKS
    picked = sum(
        any(_interval(rng, gamma, prompts, confidence)[1] < 1 for _ in range(LOOKS))
        for _ in range(SUITES)
    )
    return picked / SUITES


if __name__ == "__main__":
    main()
