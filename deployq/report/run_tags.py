"""One tag of a run's document as a record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deployq.types import (
    Decision,
    Estimate,
    GateRule,
    Noise,
    RunAgreement,
    RunAnswer,
    RunTag,
    Stretch,
    Verdict,
)

Document = Mapping[str, Any]


def quality_tag(one: Document, bits: float | None, verdict: Document | None = None) -> RunTag:
    """A tag of quality.json or recommendation.json.

    Its speed is left out: answers with log probabilities, streamed, are no benchmark.
    """
    del verdict  # a judgement has its own
    return RunTag(
        tag=one["tag"],
        quant=one["quant"],
        file_bytes=one["file_bytes"],
        holds=one["holds"],
        why=one["why"],
        bits_per_weight=bits,
        gate=tuple(_rule(rule) for rule in one["gate"]),
        decisions=tuple(_decision(decision) for decision in one["decisions"]),
        **_figures(one),
    )


def report_tag(one: Document, bits: float | None, verdict: Document | None) -> RunTag:
    """A tag of report.json; `verdict` is what a gate says of it."""
    quality, checked = one.get("quality"), one.get("verification") or {}
    figures = _figures(quality) if quality else {"answers": tuple(_verified(checked))}
    rules = verdict["rules"] if verdict else ()
    failed = [rule["reason"] for rule in rules if rule["status"] == "fail"]
    return RunTag(
        tag=one["tag"],
        quant=one["quant"],
        file_bytes=one["file_bytes"],
        holds=verdict["ok"] if verdict else None,
        why="; ".join(failed) or one["reason"],
        status=one["status"],
        alias_of=one["alias_of"],
        bits_per_weight=bits,
        blob_digest=one["blob_digest"],
        modelfile_digest=one["modelfile_digest"],
        gate=tuple(_rule(rule) for rule in rules),
        **{
            "passed": one["passed"],
            "total": one["total"],
            "tokens_per_second": checked.get("tokens_per_second"),
            **figures,
        },
    )


def _figures(quality: Document) -> dict[str, Any]:
    checks, agreement = quality["checks"], quality["agreement"]
    found = {p["name"]: p for p in agreement["prompts"]} if agreement else {}
    return {
        "passed": checks["passed"],
        "total": checks["total"],
        "answers": tuple(_answer(p, found.get(p["name"])) for p in checks["prompts"]),
        "agreement": _agreement(agreement) if agreement else None,
    }


def _answer(judged: Document, found: Document | None) -> RunAnswer:
    agreed = found or {}
    return RunAnswer(
        prompt=judged["name"],
        ok=judged["ok"],
        text=judged["answer"],
        done_reason=judged.get("done_reason"),
        failed=tuple(Verdict(check, False, why) for check, why in judged["failed"].items()),
        tokens=judged.get("tokens"),
        seconds=judged.get("seconds"),
        positions=agreed.get("positions", 0),
        same_top=agreed.get("same_top", 0),
        scored=agreed.get("scored", 0),
        kl=agreed.get("kl"),
        excess_nll=agreed.get("excess_nll"),
    )


def _verified(verification: Document) -> Iterator[RunAnswer]:
    """Answers of a verification; one of an older deployq has no texts of those that passed."""
    failed = {one["name"]: one for one in verification.get("failed") or ()}
    for one in verification.get("prompts") or ():
        wrong = failed.get(one["name"]) or {}
        yield RunAnswer(
            prompt=one["name"],
            ok=one["ok"],
            text=one.get("answer", wrong.get("answer")),
            done_reason=one.get("done_reason", wrong.get("done_reason")),
            failed=tuple(
                Verdict(v["check"], False, v["reason"]) for v in wrong.get("failures") or ()
            ),
            tokens=one["tokens"],
            seconds=one["seconds"],
        )


def _agreement(found: Document) -> RunAgreement:
    cost = found["cost"]
    return RunAgreement(
        compared=found["compared"],
        scored=found["scored"],
        left_out=found["left_out"],
        bounded=found["bounded"],
        same_top=_estimate(found["same_top"]),
        kl=_estimate(found["kl_lower_bound"]),
        perplexity=_estimate(found["perplexity"]),
        baseline_perplexity=found["baseline_perplexity"],
        perplexity_ratio=_estimate(found["perplexity_ratio"]),
        by_position=tuple(Stretch(**one) for one in found["by_position"]),
        noise=tuple(Noise(**one) for one in found["noise"]),
        noise_floor=found.get("noise_floor", 0.0),
        differs=found.get("differs", True),
        requests=cost["requests"],
        tokens=cost["tokens"],
        plain_tokens=cost["plain_tokens"],
        seconds=cost["seconds"],
    )


def _estimate(found: Document) -> Estimate:
    return Estimate(found["value"], found["low"], found["high"], found["confidence"])


def _decision(found: Document) -> Decision:
    return Decision(
        found["what"],
        found["call"],
        _estimate(found["loss"]),
        found["margin"],
        found["prompts"],
        found["prompts_needed"],
    )


def _rule(found: Document) -> GateRule:
    return GateRule(found["rule"], found["status"], found["reason"], found["value"], found["limit"])
