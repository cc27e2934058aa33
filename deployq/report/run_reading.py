"""A run's document read back: report.json, quality.json or recommendation.json as a `Run`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from deployq.report.run_facts import run_facts
from deployq.report.run_tags import quality_tag, report_tag
from deployq.types import Message, Run, RunFit, RunKind, RunPrompt, RunTag, RunTarget

Document = Mapping[str, Any]
KINDS: tuple[RunKind, ...] = ("push", "quality", "recommendation")


def read_run(document: Document, name: str = "") -> Run:
    """A run by its document.

    Args:
        document: as docs/json.md has it, schema 1; keys that came later may be missing.
        name: what the run is called, its folder's name.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is none.
    """
    if document["schema"] != 1:
        raise ValueError(f"schema {document['schema']!r}; this deployq knows 1")
    kind = document.get("kind", "push")
    if kind not in KINDS:
        raise ValueError(f"a document of kind {kind!r}")
    plan = document.get("plan") or {}
    tags = _tags(document, kind, _bits(plan))
    agreements = [a for one in _tag_documents(document, kind) if (a := _agreement_of(one))]
    baseline = document.get("baseline") or {}
    return Run(
        kind=kind,
        model=str(document["model"]),
        name=name,
        suite=_suite(document, kind),
        started=document.get("started") or "",
        seconds=float(document.get("seconds") or 0.0),
        exit_code=document.get("exit_code"),
        targets=tuple(_targets(document, plan, kind, tags)),
        tags=tags,
        prompts=tuple(_prompts(document, kind, {tag.tag for tag in tags})),
        baseline_quant=baseline.get("quant"),
        baseline_digest=baseline.get("digest")
        or next((a["baseline_digest"] for a in agreements if a.get("baseline_digest")), None),
        stand_in=next((a["stand_in"] for a in agreements if a.get("stand_in")), ""),
        remarks=tuple(_remarks(document, plan)),
        facts=run_facts(document, name),
    )


# ---------------------------------------------------------------- tags and prompts


def _tag_documents(document: Document, kind: RunKind) -> Iterator[Document]:
    """Every tag object of a run, aliases last."""
    if kind == "quality":
        yield from document["tags"]
        return
    for target in document["targets"]:
        yield from target["tags"]
    if kind == "push":
        yield from (t["alias"] for t in document["targets"] if t["alias"])


def _tags(document: Document, kind: RunKind, bits: Mapping[str, float]) -> tuple[RunTag, ...]:
    """Every tag once; an alias only where it failed a prompt, for it has its tag's weights."""
    read = report_tag if kind == "push" else quality_tag
    found: dict[str, RunTag] = {}
    verdicts = _verdicts(document) if kind == "push" else {}
    for one in _tag_documents(document, kind):
        tag = read(one, bits.get(one["quant"]), verdicts.get(one["tag"]))
        if tag.alias_of and all(answer.ok for answer in tag.answers):
            continue
        if tag.tag not in found or (tag.answers and not found[tag.tag].answers):
            found[tag.tag] = tag
    return tuple(sorted(found.values(), key=lambda tag: -tag.file_bytes))


def _verdicts(document: Document) -> dict[str, Document]:
    """What a push's gates say, by tag; where targets differ, what fails."""
    found: dict[str, Document] = {}
    for target in document["targets"]:
        for verdict in target.get("gate") or ():
            if verdict["tag"] not in found or not verdict["ok"]:
                found[verdict["tag"]] = verdict
    return found


def _prompts(document: Document, kind: RunKind, tags: AbstractSet[str]) -> Iterator[RunPrompt]:
    """The prompts in the suite's order, with what the baseline answered where it is known."""
    asked: dict[str, tuple[Message, ...]] = {
        one["name"]: tuple(Message(m["role"], m["content"]) for m in one["messages"])
        for one in document.get("prompts") or ()
    }
    baseline: dict[str, tuple[str | None, bool | None]] = {}
    for one in (one for one in _tag_documents(document, kind) if one["tag"] in tags):
        for judged in _judged(one):
            known = (judged.get("baseline_answer"), judged.get("baseline_ok"))
            if known != (None, None) or judged["name"] not in baseline:
                baseline[judged["name"]] = known
    for name in dict.fromkeys((*asked, *baseline)):
        yield RunPrompt(name, asked.get(name, ()), *baseline.get(name, (None, None)))


def _judged(tag: Document) -> Sequence[Document]:
    quality = tag if "checks" in tag else tag.get("quality") or {}
    judged = (quality.get("checks") or {}).get("prompts") or ()
    return judged or (tag.get("verification") or {}).get("prompts") or ()


def _agreement_of(tag: Document) -> Document | None:
    quality = tag if "agreement" in tag else tag.get("quality") or {}
    return quality.get("agreement")


def _suite(document: Document, kind: RunKind) -> str:
    if document.get("suite"):
        return str(document["suite"])
    for one in _tag_documents(document, kind):
        found = (one.get("verification") or one.get("checks") or {}).get("suite")
        if found:
            return str(found)
    return ""


def _remarks(document: Document, plan: Document) -> Iterator[str]:
    said = list(document.get("remarks") or ())
    for target in document.get("targets") or ():
        said += target.get("remarks") or ()
    yield from dict.fromkeys((*said, *(plan.get("warnings") or ())))


# ---------------------------------------------------------------- targets


def _targets(
    document: Document, plan: Document, kind: RunKind, tags: Iterable[RunTag]
) -> Iterator[RunTarget]:
    planned = {one["name"]: one for one in plan.get("targets") or ()}
    told = {one["name"]: one for one in document.get("targets") or ()}
    for name in told or planned:
        if name in planned:
            outcome = _outcome(told.get(name), planned[name], kind, tuple(tags))
            yield RunTarget(**_budget(planned[name]), **outcome)


def _budget(target: Document) -> dict[str, Any]:
    candidates = target["candidates"]
    beside = [c["kv_cache_bytes"] + c["compute_bytes"] for c in candidates]
    return {
        "name": target["name"],
        "kind": target["kind"],
        "budget_bytes": target["budget_bytes"],
        "n_ctx": target["n_ctx"],
        "fits": tuple(RunFit(c["quant"], c["total_bytes"], c["verdict"]) for c in candidates),
        "file_limit_bytes": target["budget_bytes"] - max(beside) if beside else None,
    }


def _outcome(
    told: Document | None, planned: Document, kind: RunKind, tags: Sequence[RunTag]
) -> dict[str, Any]:
    if kind == "quality" or told is None:
        return _smallest(planned, tags)
    if kind == "recommendation":
        chosen = told["chosen"]
        return {"chosen": chosen, "ok": chosen is not None, "reason": told["why"]}
    alias = told["alias"]
    return {
        "chosen": told["chosen"],
        "ok": told["exit_code"] == 0,
        "alias": alias["tag"] if alias else None,
        "host": told["host"],
        "planned": told.get("planned"),
        "reason": told["reason"],
        "hint": told["hint"],
    }


def _smallest(planned: Document, tags: Sequence[RunTag]) -> dict[str, Any]:
    """Of the quants judged, the smallest that holds and fits."""
    fits = {c["quant"] for c in planned["candidates"] if c["verdict"] != "no"}
    fitting = [tag for tag in tags if tag.quant in fits]
    holding = [tag for tag in fitting if tag.holds]
    if holding:
        best = min(holding, key=lambda tag: tag.file_bytes)
        return {"chosen": best.quant, "ok": True, "reason": "the smallest judged that holds"}
    if fitting:
        return {"ok": False, "reason": "none of the quants judged that fit holds"}
    return {"ok": False, "reason": "none of the quants judged fits"}


def _bits(plan: Document) -> dict[str, float]:
    return {
        c["quant"]: c["bits_per_weight"]
        for target in plan.get("targets") or ()
        for c in target["candidates"]
    }
