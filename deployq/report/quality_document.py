"""Proof of quality as JSON documents; see docs/quality.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from deployq.report.documents import SCHEMA, plan_document, prompts_asked
from deployq.report.quality_figures import Document, estimate_figures, quality_figures
from deployq.types import Baseline, Decision, Evidence, Plan, QualityReport, Recommendation


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
        "prompts": prompts_asked(one.quality.verification for one in report.evidence),
        "plan": plan_document(report.plan) if report.plan else None,
    }


def recommendations_document(
    model: str,
    found: Sequence[Recommendation],
    *,
    plan: Plan | None = None,
    started: str = "",
    seconds: float = 0.0,
) -> Document:
    """What is recommended per target.

    Args:
        plan: the plan of these targets.
        started: UTC, ISO 8601.
    """
    judged = [one.quality.verification for each in found for one in each.evidence]
    return {
        "schema": SCHEMA,
        "kind": "recommendation",
        "model": model,
        "started": started,
        "seconds": round(seconds, 1),
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
        "prompts": prompts_asked(judged),
        "plan": plan_document(plan) if plan else None,
    }


def _baseline(baseline: Baseline) -> Document:
    return {
        "digest": baseline.digest,
        "recorded": baseline.recorded,
        "full_precision": baseline.full_precision,
        "prompts": len(baseline.answers),
        "tokens": sum(len(answer.steps) for answer in baseline.answers),
        "noise": [dataclasses.asdict(one) for one in baseline.noise],
        **dataclasses.asdict(baseline.key),
    }


def _evidence(one: Evidence) -> Document:
    return {
        "holds": one.holds,
        "call": one.call,
        "decided_by": one.decided_by,
        "why": one.why,
        "gate": [dataclasses.asdict(rule) for rule in one.verdict.rules],
        "decisions": [_decision(decision) for decision in one.decisions],
        **quality_figures(one.quality),
    }


def _decision(decision: Decision) -> Document:
    return {
        "what": decision.what,
        "call": decision.call,
        "loss": estimate_figures(decision.loss),
        "margin": decision.margin,
        "prompts": decision.prompts,
        "prompts_needed": decision.prompts_needed,
    }
