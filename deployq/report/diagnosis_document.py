"""A diagnosis as a JSON document; docs/json.md has its fields."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deployq.types import Diagnosis, PromptResult, Rung

Document = dict[str, Any]
SCHEMA = 1


def diagnosis_document(found: Diagnosis) -> Document:
    """What `deployq diagnose --json` prints."""
    return {
        "schema": SCHEMA,
        "tag": found.tag,
        "host": found.host,
        "quant": found.quant,
        "suite": found.suite,
        "asked": found.asked,
        "failed": found.failed,
        "cause": found.ruling.cause,
        "confidence": found.ruling.confidence,
        "sentence": found.sentence,
        "mend": found.mend or None,
        "prompts": [{"name": n, "cause": cause} for n, cause in found.ruling.causes.items()],
        "rungs": [_rung(rung) for rung in found.rungs],
        "evidence": [asdict(one) for one in found.evidence],
        "notes": list(found.notes),
    }


def _rung(rung: Rung) -> Document:
    return {
        "name": rung.name,
        "title": rung.title,
        "skipped": rung.skipped or None,
        "full_precision": rung.full_precision,
        "seconds": round(rung.seconds, 3),
        "prompts": [_result(result) for result in rung.results],
    }


def _result(result: PromptResult) -> Document:
    answer = result.answer
    return {
        "name": result.prompt.name,
        "ok": result.ok,
        "answer": answer.text if answer else None,
        "done_reason": answer.done_reason if answer else None,
        "prompt_tokens": answer.prompt_tokens if answer else None,
        "tokens": answer.tokens if answer else None,
        "failures": [{"check": v.check, "reason": v.reason} for v in result.verdicts if not v.ok],
    }
