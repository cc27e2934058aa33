"""The figures of one tag's quality, as parts of JSON documents."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployq.types import (
        Agreement,
        Estimate,
        GateVerdict,
        PromptAgreement,
        Quality,
        Verification,
    )

Document = dict[str, Any]


def verdict_figures(verdict: GateVerdict) -> Document:
    """What a gate says of one tag, rule by rule."""
    return {
        "tag": verdict.tag,
        "quant": verdict.quant,
        "ok": verdict.ok,
        "rules": [dataclasses.asdict(rule) for rule in verdict.rules],
    }


def quality_figures(quality: Quality) -> Document:
    """The checks and the agreement of one tag."""
    baseline = quality.baseline_verification
    return {
        "tag": quality.tag,
        "quant": quality.quant,
        "file_bytes": quality.file_bytes,
        "checks": _checks(quality.verification, baseline),
        "agreement": _agreement(quality.agreement) if quality.agreement else None,
    }


def _checks(verification: Verification, baseline: Verification | None) -> Document:
    before: Mapping[str, Any] = {r.prompt.name: r for r in baseline.results} if baseline else {}
    return {
        "suite": verification.suite,
        "passed": verification.passed,
        "total": len(verification.results),
        "baseline_passed": baseline.passed if baseline else None,
        "prompts": [
            {
                "name": result.prompt.name,
                "ok": result.ok,
                "baseline_ok": before[result.prompt.name].ok
                if result.prompt.name in before
                else None,
                "answer": result.answer.text if result.answer else None,
                "baseline_answer": before[result.prompt.name].answer.text
                if result.prompt.name in before and before[result.prompt.name].answer
                else None,
                "done_reason": result.answer.done_reason if result.answer else None,
                "tokens": result.answer.tokens if result.answer else None,
                "seconds": round(result.answer.wall_seconds, 3) if result.answer else None,
                "failed": {v.check: v.reason for v in result.verdicts if not v.ok},
            }
            for result in verification.results
        ],
    }


def _agreement(found: Agreement) -> Document:
    return {
        "baseline_digest": found.baseline_digest,
        "compared": found.compared,
        "scored": found.scored,
        "left_out": found.left_out,
        "bounded": sum(one.bounded for one in found.prompts),
        "same_top": estimate_figures(found.same_top),
        "kl_lower_bound": estimate_figures(found.kl),
        "perplexity": estimate_figures(found.perplexity),
        "baseline_perplexity": _number(found.baseline_perplexity),
        "perplexity_ratio": estimate_figures(found.perplexity_ratio),
        "by_position": [dataclasses.asdict(one) for one in found.by_position],
        "noise": [dataclasses.asdict(one) for one in found.noise],
        "noise_floor": _number(found.noise_floor),
        "differs": found.differs,
        "cost": dataclasses.asdict(found.cost),
        "stand_in": found.stand_in,
        "unanswered": list(found.unanswered),
        "prompts": [_prompt(one) for one in found.prompts],
    }


def _prompt(one: PromptAgreement) -> Document:
    scored = [p for p in one.positions if p.kl is not None]
    return {
        "name": one.prompt,
        "end": one.end,
        "first_difference": one.first_difference,
        "positions": len(one.positions),
        "same_top": sum(bool(p.same_top) for p in one.positions),
        "scored": len(scored),
        "kl": _mean([p.kl or 0.0 for p in scored]),
        "excess_nll": _mean([(p.nll or 0.0) - (p.baseline_nll or 0.0) for p in scored]),
        "requests": one.requests,
        "tokens": one.tokens,
        "retries": one.retries,
    }


def estimate_figures(estimate: Estimate) -> Document:
    """A figure with its interval."""
    return {
        "value": _number(estimate.value),
        "low": _number(estimate.low),
        "high": _number(estimate.high),
        "confidence": estimate.confidence,
    }


def _mean(values: Sequence[float]) -> float | None:
    return _number(sum(values) / len(values)) if values else None


def _number(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
