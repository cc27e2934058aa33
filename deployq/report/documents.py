"""The JSON documents of `--json`, described key by key in docs/json.md.

Each is one object with `"schema": 1`. Bytes are integers, seconds are rounded to milliseconds,
a figure that is not known is null. New keys may come; a key keeps its meaning within a schema.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from deployq.report.parity_document import parity_fields
from deployq.report.quality_figures import quality_figures, verdict_figures

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deployq.types import (
        Candidate,
        DiskPlan,
        Explanation,
        Judged,
        ModelInfo,
        Offload,
        Plan,
        Prompt,
        PromptResult,
        Report,
        StepResult,
        TagReport,
        TargetPlan,
        TargetReport,
        Term,
        TogetherPlan,
        Verification,
    )

SCHEMA = 1

Document = dict[str, Any]


def plan_document(plan: Plan) -> Document:
    """What `deployq plan --json` and `push --dry-run --json` print."""
    return {
        "schema": SCHEMA,
        "model": plan.model,
        "source": _source(plan.source),
        "targets": [_target_plan(target) for target in plan.targets],
        "disk": _disk(plan.disk),
        "warnings": list(plan.warnings),
        "notes": list(plan.notes),
        "memory_is_upper_bound": plan.upper_bound,
        "judged": [_judged(judged) for judged in plan.judged],
    }


def plans_document(plans: Iterable[Plan], together: Iterable[TogetherPlan] = ()) -> Document:
    """What `deployq plan --json` prints for several models."""
    return {
        "schema": SCHEMA,
        "plans": [plan_document(plan) for plan in plans],
        "together": [_together(plan) for plan in together],
    }


def explanation_document(explanations: Iterable[Explanation]) -> Document:
    """What `deployq plan --explain QUANT --json` prints."""
    return {"schema": SCHEMA, "explained": [_explanation(one) for one in explanations]}


def report_document(report: Report) -> Document:
    """What `deployq push --json` prints, and what report.json of a run holds."""
    return {
        "schema": SCHEMA,
        "kind": "push",
        "model": report.model,
        "started": report.started,
        "seconds": _seconds(report.seconds),
        "exit_code": report.exit_code,
        "run_dir": None if report.run_dir is None else str(report.run_dir),
        "targets": [_target_report(target) for target in report.targets],
        "prompts": prompts_asked(
            tag.verification for t in report.targets for tag in t.tags if tag.verification
        ),
        "plan": plan_document(report.plan),
    }


def prompts_asked(verifications: Iterable[Verification]) -> list[Document]:
    """Every prompt of some verifications, once, with its messages."""
    asked = {r.prompt.name: r.prompt for found in verifications for r in found.results}
    return [{"name": name, "messages": _messages(prompt)} for name, prompt in asked.items()]


def verifications_document(verifications: Iterable[Verification]) -> Document:
    """What `deployq verify --json` prints."""
    return {"schema": SCHEMA, "tags": [_verification(v) for v in verifications]}


# ---------------------------------------------------------------- plan


def _source(info: ModelInfo) -> Document:
    return {
        "path": str(info.path),
        "name": info.name,
        "architecture": info.architecture,
        "dtype": info.dtype,
        "quantized": info.quantized,
        "n_params": info.n_params,
        "n_ctx_train": info.n_ctx_train,
        "file_bytes": info.file_bytes,
    }


def _target_plan(plan: TargetPlan) -> Document:
    target = plan.target
    return {
        "name": target.name,
        "kind": target.kind,
        "memory_bytes": target.memory_bytes,
        "budget_bytes": target.budget_bytes,
        "reserve_bytes": target.reserve_bytes,
        "cards": list(target.cards),
        "n_ctx": target.n_ctx,
        "cache_type": target.cache_type,
        "parallel": target.serving.parallel,
        "parallel_by": target.serving.parallel_by,
        "flash_attention": target.serving.flash_attention,
        "goal": target.goal,
        "chosen": plan.chosen,
        "why": plan.why,
        "build": list(plan.build),
        "candidates": [_candidate(candidate) for candidate in plan.candidates],
        "advice": list(plan.advice),
    }


def _candidate(candidate: Candidate) -> Document:
    size, memory, speed = candidate.size, candidate.memory, candidate.speed
    return {
        "quant": size.quant,
        "file_bytes": size.file_bytes,
        "bits_per_weight": round(size.bits_per_weight, 4),
        "fallback_tensors": size.fallback_tensors,
        "weights_bytes": memory.weights_bytes,
        "kv_cache_bytes": memory.kv_cache_bytes,
        "compute_bytes": memory.compute_bytes,
        "total_bytes": memory.total_bytes,
        "host_bytes": memory.host_bytes,
        "n_batch": memory.n_batch,
        "verdict": candidate.verdict,
        "reason": candidate.reason,
        "size_by": size.by,
        "max_context": candidate.max_context,
        "speed": None if speed is None else {k: round(v, 1) for k, v in asdict(speed).items()},
        "offload": None if candidate.offload is None else _offload(candidate.offload),
    }


def _offload(offload: Offload) -> Document:
    times = offload.slowdown
    return {**asdict(offload), "slowdown": None if times is None else round(times, 1)}


def _judged(judged: Judged) -> Document:
    return {**asdict(judged), "difference": round(judged.difference, 6)}


def _together(plan: TogetherPlan) -> Document:
    return {
        "target": plan.target.name,
        "budget_bytes": plan.target.budget_bytes,
        "total_bytes": plan.total_bytes,
        "extra_bytes": plan.extra_bytes,
        "verdict": plan.verdict,
        "why": plan.why,
        "shares": [
            {"model": share.model, "n_ctx": share.n_ctx, **_candidate(share.candidate)}
            for share in plan.shares
        ],
    }


def _explanation(one: Explanation) -> Document:
    return {
        "target": one.target.name,
        **_candidate(one.candidate),
        "budget_bytes": one.target.budget_bytes,
        "tensors": [asdict(group) for group in one.groups],
        "file": _terms(one.file),
        "weights": _terms(one.weights),
        "kv_cache": _terms(one.kv_cache),
        "compute": _terms(one.compute),
    }


def _terms(terms: Iterable[Term]) -> list[Document]:
    return [{"what": t.what, "formula": t.formula, "bytes": t.term_bytes} for t in terms]


def _disk(disk: DiskPlan) -> Document:
    return {
        "needed_bytes": disk.needed_bytes,
        "free_bytes": disk.free_bytes,
        "enough": disk.enough,
        "steps": [asdict(step) for step in disk.steps],
        "filesystems": [{**asdict(fs), "path": str(fs.path)} for fs in disk.filesystems],
    }


# ---------------------------------------------------------------- report


def _target_report(target: TargetReport) -> Document:
    return {
        "name": target.target,
        "host": target.host,
        "runtime": target.runtime,
        "status": target.status,
        "exit_code": target.exit_code,
        "reason": target.reason,
        "hint": target.hint,
        "chosen": target.chosen,
        "planned": target.planned,
        "gate": [verdict_figures(verdict) for verdict in target.gate],
        "alias": None if target.alias is None else _tag(target.alias),
        "tags": [_tag(tag) for tag in target.tags],
    }


def _tag(tag: TagReport) -> Document:
    verification = tag.verification
    return {
        "tag": tag.tag,
        "alias_of": tag.alias_of,
        "quant": tag.quant,
        "status": tag.status,
        "reason": tag.reason,
        "hint": tag.hint,
        "file_bytes": tag.file_bytes,
        "n_ctx": tag.n_ctx,
        "blob_digest": tag.blob_digest or None,
        "modelfile_digest": tag.modelfile_digest or None,
        "steps": [_step(step) for step in tag.steps],
        "passed": None if tag.score is None else tag.score.passed,
        "total": None if tag.score is None else tag.score.total,
        "verification": None if verification is None else _verification(verification),
        "quality": None if tag.quality is None else quality_figures(tag.quality),
        "parity": None if tag.parity is None else parity_fields(tag.parity),
    }


def _step(step: StepResult) -> Document:
    return {
        "step": step.step,
        "status": step.status,
        "seconds": _seconds(step.seconds),
        "bytes": step.bytes,
        "detail": step.detail,
    }


# ---------------------------------------------------------------- verification


def _verification(verification: Verification) -> Document:
    speed = verification.tokens_per_second
    return {
        "tag": verification.tag,
        "suite": verification.suite,
        "suite_digest": verification.suite_digest or None,
        "ok": verification.ok,
        "passed": verification.passed,
        "total": len(verification.results),
        "threshold": verification.threshold,
        "seconds": _seconds(verification.seconds),
        "tokens_per_second": None if speed is None else round(speed, 1),
        "prompts": [_prompt(result) for result in verification.results],
        "failed": [_failed(result) for result in verification.results if not result.ok],
    }


def _prompt(result: PromptResult) -> Document:
    answer = result.answer
    return {
        "name": result.prompt.name,
        "ok": result.ok,
        "answer": None if answer is None else answer.text,
        "done_reason": None if answer is None else answer.done_reason,
        "tokens": None if answer is None else answer.tokens,
        "seconds": None if answer is None else _seconds(answer.wall_seconds),
    }


def _failed(result: PromptResult) -> Document:
    answer = result.answer
    return {
        "name": result.prompt.name,
        "messages": _messages(result.prompt),
        "answer": None if answer is None else answer.text,
        "done_reason": None if answer is None else answer.done_reason,
        "failures": [
            {"check": verdict.check, "reason": verdict.reason}
            for verdict in result.verdicts
            if not verdict.ok
        ],
    }


def _messages(prompt: Prompt) -> list[Document]:
    return [{"role": m.role, "content": m.content} for m in prompt.messages]


def _seconds(seconds: float) -> float:
    return round(seconds, 3)
