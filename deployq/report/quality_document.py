"""Proof of quality as JSON documents; see docs/quality.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from deployq.report.documents import SCHEMA
from deployq.types import (
    Agreement,
    Baseline,
    Decision,
    Estimate,
    Evidence,
    PromptAgreement,
    Quality,
    QualityReport,
    Recommendation,
    Verification,
)

Document = dict[str, Any]


def quality_document(report: QualityReport) -> Document:
    """Several quants of one model against one baseline."""
    return {
        "schema": SCHEMA,
        "kind": "quality",
        "model": report.model,
        "suite": report.suite,
        "started": report.started,
        "seconds": round(report.seconds, 1),
        "baseline": _baseline(report.baseline),
        "tags": [_evidence(one) for one in report.evidence],
        "remarks": list(report.remarks),
    }


def recommendations_document(model: str, found: Iterable[Recommendation]) -> Document:
    """What is recommended per target."""
    return {
        "schema": SCHEMA,
        "kind": "recommendation",
        "model": model,
        "targets": [
            {
                "name": one.target,
                "chosen": one.chosen,
                "why": one.why,
                "considered": list(one.considered),
                "remarks": list(one.remarks),
                "tags": [_evidence(e) for e in one.evidence],
            }
            for one in found
        ],
    }


def _baseline(baseline: Baseline) -> Document:
    return {
        "digest": baseline.digest,
        "recorded": baseline.recorded,
        "full_precision": baseline.full_precision,
        "prompts": len(baseline.answers),
        "tokens": sum(len(answer.steps) for answer in baseline.answers),
        **dataclasses.asdict(baseline.key),
    }


def _evidence(one: Evidence) -> Document:
    return {
        "holds": one.holds,
        "why": one.why,
        "gate": [dataclasses.asdict(rule) for rule in one.verdict.rules],
        "decisions": [_decision(decision) for decision in one.decisions],
        **_quality(one.quality),
    }


def _decision(decision: Decision) -> Document:
    return {
        "what": decision.what,
        "call": decision.call,
        "loss": _estimate(decision.loss),
        "margin": decision.margin,
        "prompts": decision.prompts,
        "prompts_needed": decision.prompts_needed,
    }


def _quality(quality: Quality) -> Document:
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
                "failed": {v.check: v.reason for v in result.verdicts if not v.ok},
            }
            for result in verification.results
        ],
    }


def _agreement(found: Agreement) -> Document:
    return {
        "compared": found.compared,
        "scored": found.scored,
        "left_out": found.left_out,
        "bounded": sum(one.bounded for one in found.prompts),
        "same_top": _estimate(found.same_top),
        "kl_lower_bound": _estimate(found.kl),
        "perplexity": _estimate(found.perplexity),
        "baseline_perplexity": _number(found.baseline_perplexity),
        "perplexity_ratio": _estimate(found.perplexity_ratio),
        "by_position": [dataclasses.asdict(one) for one in found.by_position],
        "noise": [dataclasses.asdict(one) for one in found.noise],
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
        "kl": _number(sum(p.kl or 0.0 for p in scored) / len(scored)) if scored else None,
        "requests": one.requests,
        "tokens": one.tokens,
        "retries": one.retries,
    }


def _estimate(estimate: Estimate) -> Document:
    return {
        "value": _number(estimate.value),
        "low": _number(estimate.low),
        "high": _number(estimate.high),
        "confidence": estimate.confidence,
    }


def _number(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
