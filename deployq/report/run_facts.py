"""Where the figures of a run come from, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deployq.report.wording import parameters_text, seconds_text
from deployq.units import format_bytes

Document = Mapping[str, Any]
COMMANDS = {
    "push": "deployq push {model}",
    "quality": "deployq quality {model}",
    "recommendation": "deployq recommend {model}",
}


def run_facts(document: Document, name: str) -> tuple[tuple[str, str], ...]:
    """Names and values, in the order in which they are shown."""
    return tuple((what, value) for what, value in _facts(document, name) if value)


def _facts(document: Document, name: str) -> Iterator[tuple[str, str]]:
    kind = document.get("kind", "push")
    yield "run", name
    yield "made by", COMMANDS[kind].format(model=document["model"])
    yield "started", document.get("started") or ""
    yield "took", seconds_text(document["seconds"]) if document.get("seconds") else ""
    source = (document.get("plan") or {}).get("source")
    if source:
        yield "source", _source(source)
    yield from _baseline(document.get("baseline") or {})
    for target in document.get("targets") or ():
        if target.get("host"):
            yield f"server of {target['name']}", f"{target['host']} ({target.get('runtime')})"


def _source(source: Document) -> str:
    return (
        f"{source['path']}: {source['architecture']}, "
        f"{parameters_text(source['n_params'])} parameters, {source['dtype']}, "
        f"{format_bytes(source['file_bytes'])}"
    )


def _baseline(baseline: Document) -> Iterator[tuple[str, str]]:
    if not baseline:
        return
    yield "source digest", baseline["model_digest"]
    yield "suite digest", baseline["suite_digest"]
    amount = f"{baseline['prompts']} prompts, {baseline['tokens']} tokens"
    yield "baseline", f"{baseline['quant']}, {amount}, recorded {baseline['recorded']}"
    yield "baseline digest", baseline["digest"]
    yield "engine", f"{baseline['engine']} {baseline['server']} on {baseline['device']}"
    options = baseline["options"]
    yield "options", ", ".join(f"{key} = {value}" for key, value in options.items())
