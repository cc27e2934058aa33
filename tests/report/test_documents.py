"""The JSON documents: their keys, their figures, and that docs/json.md names every key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployq.report.documents import (
    explanation_document,
    plan_document,
    plans_document,
    report_document,
    verifications_document,
)
from deployq.report.inspect_view import inspect_document
from deployq.report.storage_view import cache_document, prune_document
from deployq.report.tag_view import tags_document
from tests.report import samples

DOCS = Path(__file__).resolve().parents[2] / "docs" / "json.md"
DOCUMENTS = {
    "plan": plan_document(samples.PLAN),
    "plans": plans_document([samples.PLAN], samples.TOGETHER),
    "explanation": explanation_document([samples.EXPLAINED]),
    "inspect": inspect_document(samples.SOURCE, samples.EXPLAINED.groups),
    "report": report_document(samples.BAD),
    "good report": report_document(samples.GOOD),
    "verification": verifications_document([samples.verification("task-api:q4_k_m", 4)]),
    "verifications": verifications_document([samples.verification("task-api:q8_0")]),
    "list": tags_document(samples.HELD),
    "prune": prune_document(samples.LEFT, samples.LEFT.items[:1], samples.PRUNED),
    "cache": cache_document([samples.CACHED]),
}


def nodes(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    yield key, value
    if isinstance(value, dict):
        for name, item in value.items():
            yield from nodes(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from nodes(item, key)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_are_json_of_schema_1(name: str) -> None:
    document = DOCUMENTS[name]
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["schema"] == 1


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_key_is_documented(name: str) -> None:
    documented = set(re.findall(r"`(\w+)`", DOCS.read_text(encoding="utf-8")))
    keys = {key for key, _ in nodes(DOCUMENTS[name]) if key}
    assert keys <= documented


@pytest.mark.parametrize("name", DOCUMENTS)
def test_bytes_are_whole_and_seconds_are_short(name: str) -> None:
    for key, value in nodes(DOCUMENTS[name]):
        if key.endswith("bytes"):
            assert type(value) is int
        if key.endswith("seconds") and value is not None:
            assert value == round(value, 3)


def test_the_plan_has_the_schema_of_the_design() -> None:
    plan = DOCUMENTS["plan"]
    assert {"schema", "model", "source", "targets", "disk"} <= plan.keys()
    assert {"needed_bytes", "free_bytes", "steps"} <= plan["disk"].keys()
    laptop = plan["targets"][0]
    assert laptop["name"] == "laptop"
    assert laptop["budget_bytes"] == 11 * 10**9
    assert laptop["reserve_bytes"] == 5 * 10**9
    assert (laptop["n_ctx"], laptop["cache_type"], laptop["chosen"]) == (8192, "f16", "Q4_K_M")
    assert laptop["candidates"][0] | {"speed": None, "offload": None} == {
        "quant": "Q4_K_M",
        "file_bytes": 4_920_734_464,
        "bits_per_weight": 4.89,
        "fallback_tensors": 0,
        "weights_bytes": 4_920_734_464,
        "kv_cache_bytes": 2**30,
        "compute_bytes": 164 * 2**20,
        "total_bytes": 4_920_734_464 + 2**30 + 164 * 2**20,
        "host_bytes": 0,
        "n_batch": 0,
        "verdict": "fits",
        "size_by": "deployq",
        "max_context": 8192,
        "speed": None,
        "offload": None,
        "reason": laptop["candidates"][0]["reason"],
    }
    assert plan["targets"][2]["chosen"] is None


def test_the_report_tells_what_failed() -> None:
    report = DOCUMENTS["report"]
    assert report["exit_code"] == 4
    laptop, gpu = report["targets"]
    assert gpu["exit_code"] == 5
    assert gpu["reason"] == "nothing answers at http://gpu.example:11434"
    verification = laptop["tags"][1]["verification"]
    assert (verification["passed"], verification["total"], verification["ok"]) == (20, 24, False)
    assert verification["tokens_per_second"] == 800.0
    first, _, silent, _ = verification["failed"]
    assert first["answer"].startswith('{"action"')
    assert first["failures"] == [
        {
            "check": "json_equals",
            "reason": '$.title is "Review report", not "Review quarterly report"',
        }
    ]
    assert (silent["answer"], silent["done_reason"]) == (None, None)
    assert laptop["tags"][1]["steps"][0]["seconds"] == 12.346


def test_the_report_tells_what_was_unchanged_and_the_alias() -> None:
    gpu = DOCUMENTS["good report"]["targets"][1]
    assert gpu["alias"]["alias_of"] == "task-api:q8_0"
    assert gpu["alias"]["n_ctx"] == 8192
    assert gpu["tags"][0]["status"] == "unchanged"
    assert gpu["tags"][0]["reason"] == "same as in deployq.lock"
    assert gpu["tags"][0]["verification"] is None
