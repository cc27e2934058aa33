"""Prompts from a data set: JSON lines through a template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deployq.errors import SuiteError
from deployq.proof.answers_checks import ANSWER_CHECKS
from deployq.proof.checks import BUILTIN_CHECKS
from deployq.proof.datasets import fill
from deployq.proof.suites import Suite, load_suite

CHECKS = {check.name: check for check in (*BUILTIN_CHECKS, *ANSWER_CHECKS)}
RECORDS: list[dict[str, Any]] = [
    {"id": 7, "question": "What is due?", "answer": {"json": {"action": "list", "n": 2}}},
    {"id": 8, "question": "Say {this} \u2028 twice", "answer": {"json": [1, "x"]}},
]
SUITE = """
threshold = 0.5
system = "Answer in JSON."
[[prompts]]
user = "by hand"
[[datasets]]
file = "data/asked.jsonl"
name = "q-{id}"
user = "Q{id}: {question} {{literally}}"
check.json_equals = "{answer.json}"
"""


def written(folder: Path, suite: str = SUITE) -> Path:
    (folder / "data").mkdir(exist_ok=True)
    lines = [json.dumps(record, ensure_ascii=False) for record in RECORDS]
    (folder / "data" / "asked.jsonl").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    (folder / "suite.toml").write_text(suite)
    return folder / "suite.toml"


def loaded(folder: Path, suite: str = SUITE) -> Suite:
    return load_suite(written(folder, suite), CHECKS)


def test_every_line_becomes_a_prompt(tmp_path: Path) -> None:
    hand, one, two = loaded(tmp_path).prompts
    assert hand.name == "prompt-1"
    assert (one.name, two.name) == ("q-7", "q-8")
    assert one.messages[0].content == "Answer in JSON."
    assert one.messages[1].content == "Q7: What is due? {literally}"
    assert two.messages[1].content == "Q8: Say {this} \u2028 twice {literally}"
    assert one.checks == {"json_equals": {"action": "list", "n": 2}}
    assert two.checks == {"json_equals": [1, "x"]}


def test_a_limit_and_names_by_line(tmp_path: Path) -> None:
    head = '[[datasets]]\nfile = "data/asked.jsonl"\nuser = "{question}"\n'
    assert [p.name for p in loaded(tmp_path, head).prompts] == ["asked-1", "asked-3"]
    assert [p.name for p in loaded(tmp_path, f"{head}limit = 1\n").prompts] == ["asked-1"]


@pytest.mark.parametrize("limit", ['"2"', "-1", "0", "true", "1.5"])
def test_a_limit_is_a_number_of_lines(tmp_path: Path, limit: str) -> None:
    head = '[[datasets]]\nfile = "data/asked.jsonl"\nuser = "{question}"\n'
    with pytest.raises(SuiteError, match="limit is a number of lines, 1 or more"):
        loaded(tmp_path, f"{head}limit = {limit}\n")


def test_a_changed_line_changes_the_digest(tmp_path: Path) -> None:
    before = loaded(tmp_path).digest
    data = tmp_path / "data" / "asked.jsonl"
    data.write_text(data.read_text(encoding="utf-8").replace("due", "late"), encoding="utf-8")
    assert load_suite(tmp_path / "suite.toml", CHECKS).digest != before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("{answer.json}", "{answer.yaml}"), "line 1 has no field 'answer.yaml'"),
        (('file = "data/asked.jsonl"\n', ""), "needs a file"),
        (("asked.jsonl", "gone.jsonl"), "cannot read the data set"),
        (("q-{id}", "same"), "two prompts are called 'same'"),
        (("check.json_equals", "check.json_equal"), "unknown check 'json_equal'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: tuple[str, str], why: str) -> None:
    with pytest.raises(SuiteError) as caught:
        loaded(tmp_path, SUITE.replace(*change))
    assert why in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("line", ["no JSON", "[1]"])
def test_lines_that_are_no_records_are_named(tmp_path: Path, line: str) -> None:
    suite = written(tmp_path)
    (tmp_path / "data" / "asked.jsonl").write_text(f"{line}\n")
    with pytest.raises(SuiteError, match=r"asked\.jsonl, line 1"):
        load_suite(suite, CHECKS)


def test_fields_keep_their_type_and_braces_stay() -> None:
    record = {"n": 3, "flag": True, "deep": {"list": [1]}}
    assert fill("{n}", record, "x") == 3
    assert fill("{n} of {deep.list}", record, "x") == "3 of [1]"
    assert fill(["{flag}", {"k": "{deep}"}, 5], record, "x") == [True, {"k": {"list": [1]}}, 5]
    assert fill("{{n}}", record, "x") == "{n}"
