"""From what each rung passed, and what else was looked at, to whose fault it is. Pure.

Each rung asks the prompts that failed with one suspect less than the one before: the first that
passes a prompt names its cause. What passes nowhere, not even in full precision, the model never
knew, or its conversion lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from deployq.types import Cause, Clue, Confidence, Ruling, Rung, RungName

CAUSES: dict[RungName, Cause] = {
    "context": "context",
    "template": "template",
    "end mark": "stop token",
    "parameters": "parameters",
    "full precision": "quantization",
    "llama.cpp": "runtime",
    "transformers": "conversion",
}


def rule(failed: Sequence[str], rungs: Sequence[Rung], evidence: Sequence[Clue]) -> Ruling:
    """The cause of what failed.

    Args:
        failed: the names of the prompts that the tag failed and that the rungs were asked.
        rungs: in the order in which suspects fall away, the tag itself first.
        evidence: what was found besides.
    """
    causes = {name: _cause(name, rungs, evidence) for name in failed}
    if not causes:
        damaged = _proven(evidence, "damaged weights")
        return Ruling("damaged weights" if damaged else "nothing wrong", "certain")
    cause = _foremost(causes.values())
    trained = any(rung.name == "transformers" and rung.asked for rung in rungs)
    return Ruling(cause, _confidence(cause, evidence, trained), causes)


def unsettled(failed: Iterable[str], rungs: Sequence[Rung]) -> list[str]:
    """The prompts that no rung has passed yet."""
    passed = {name for rung in rungs[1:] for name in rung.passed}
    return [name for name in failed if name not in passed]


def _cause(name: str, rungs: Sequence[Rung], evidence: Sequence[Clue]) -> Cause:
    damaged = _proven(evidence, "damaged weights")
    passed = next((rung for rung in rungs[1:] if name in rung.passed), None)
    if passed is not None:
        return _named(name, passed, rungs, evidence)
    if damaged:
        return "damaged weights"
    if not any(name in rung.asked for rung in rungs if rung.full_precision):
        return "undecided"
    return "conversion" if _proven(evidence, "conversion") else "model"


def _named(name: str, passed: Rung, rungs: Sequence[Rung], evidence: Sequence[Clue]) -> Cause:
    """The cause that the first rung to pass a prompt speaks for."""
    served = any(name in rung.asked for rung in rungs if rung.name == "full precision")
    direct = passed.name == "llama.cpp" and passed.full_precision and not served
    if passed.name == "full precision" or direct:
        return _of_weights(evidence)
    return CAUSES[passed.name]


def _of_weights(evidence: Iterable[Clue]) -> Cause:
    """What is wrong with weights that fail where full precision passes."""
    found: tuple[Cause, ...] = ("damaged weights", "conversion")
    return next((cause for cause in found if _proven(evidence, cause)), "quantization")


def _proven(evidence: Iterable[Clue], cause: Cause) -> bool:
    return any(one.suspect == cause and one.proven for one in evidence)


def _foremost(causes: Iterable[Cause]) -> Cause:
    """The cause of most prompts; of two with as many, the one that is met first on the way up."""
    counted = Counter(causes)
    order = [*CAUSES.values(), "damaged weights", "model", "undecided"]
    return max(counted, key=lambda cause: (counted[cause], -order.index(cause)))


def _confidence(cause: Cause, evidence: Sequence[Clue], trained: bool) -> Confidence:
    """`trained`: the trained model itself was asked."""
    if cause == "undecided":
        return "open"
    vouched = any(e.about == "weights" and e.proven and e.suspect is None for e in evidence)
    if trained and cause in ("conversion", "model"):
        return "certain"
    if _proven(evidence, cause) or (cause == "quantization" and vouched):
        return "certain"
    return "likely"
