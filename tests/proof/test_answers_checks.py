"""similar, json_path, tool_call and needle: what each lets through and what it finds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deployq.proof.answers_checks import ANSWER_CHECKS
from deployq.proof.checks import Check
from deployq.proof.needles import haystack, with_needle
from deployq.proof.schemas import schema_fault, schema_mistake
from deployq.types import Json, Message, Prompt
from tests.proof.test_checks import PROMPT, answer

CHECKS = {check.name: check for check in ANSWER_CHECKS}


def reason(name: str, params: Any, given: Any, prompt: Prompt = PROMPT) -> str:
    """Why the check failed; "" if it didn't."""
    assert not schema_fault(CHECKS[name].schema, params)
    verdict = CHECKS[name].check(answer(given) if isinstance(given, str) else given, prompt, params)
    assert verdict.ok == (not verdict.reason)
    return verdict.reason


@pytest.mark.parametrize("name", CHECKS)
def test_schemas_are_schemas(name: str) -> None:
    assert schema_mistake(CHECKS[name].schema) == ""


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("similar", {"least": 0.9}),
        ("similar", {"to": "x", "least": 2}),
        ("similar", ""),
        ("json_path", {}),
        ("tool_call", {"arguments": {}}),
        ("tool_call", {"name": "x", "argument": {}}),
        ("needle", {"fact": "x", "answer": "y", "words": 3}),
    ],
)
def test_parameters_that_make_no_sense_are_refused(name: str, params: Any) -> None:
    assert schema_fault(CHECKS[name].schema, params)


# ---------------------------------------------------------------- similar


def test_similar_counts_edits_against_the_longer_text() -> None:
    assert reason("similar", "The capital is Paris.", " The capital is Paris. ") == ""
    assert reason("similar", "abcdefghij", "abcdefghXX") == ""  # 0.8, the default
    said = reason("similar", "abcdefghij", "abcdefgXXX")
    assert 'only 70% like "abcdefghij"' in said
    assert "80% are asked for" in said
    assert reason("similar", {"to": "abcdefghij", "least": 0.7}, "abcdefgXXX") == ""
    assert reason("similar", {"to": ["zzz", "Paris"], "least": 1}, "Paris") == ""
    assert 'like "Paris"' in reason("similar", {"to": ["zzz", "Paris"], "least": 1}, "Pariz")


# ---------------------------------------------------------------- json_path


def test_json_path_looks_at_places() -> None:
    found = json.dumps({"task": {"title": "Rent", "tags": ["a", "b"]}, "n": 1})
    assert reason("json_path", {"$.task.title": "Rent", "$.n": 1.0}, found) == ""
    assert reason("json_path", {"$.task.tags[*]": "b"}, found) == ""
    assert 'nothing at $.task.due (expected "today")' in reason(
        "json_path", {"$.task.due": "today"}, found
    )
    assert '"Rent", not "Tax"' in reason("json_path", {"$.task.title": "Tax"}, found)
    assert "is not JSON" in reason("json_path", {"$.n": 1}, "no")


def test_a_path_that_is_none_is_a_mistake_of_the_suite() -> None:
    check = CHECKS["json_path"]
    assert isinstance(check, Check)
    assert check.validate({"$.a.b": 1}) == ""
    assert "no JSON path" in check.validate({"$.a[": 1})


# ---------------------------------------------------------------- tool_call

CALL = {"function": {"name": "weather", "arguments": {"city": "Rome", "days": 3}}}


def called(*calls: Any) -> Any:
    return answer("", raw={"message": {"content": "", "tool_calls": list(calls)}})


def test_tool_calls_that_the_server_read() -> None:
    params = {"name": "weather", "arguments": {"city": "Rome"}}
    assert reason("tool_call", params, called(CALL)) == ""
    assert reason("tool_call", {"name": "weather"}, called(CALL)) == ""
    assert "calls no tool" in reason("tool_call", params, answer("It is sunny."))
    assert '"weather", not "time"' in reason("tool_call", {"name": "time"}, called(CALL))
    other = {"name": "weather", "arguments": {"city": "Oslo"}}
    assert 'arguments.city is "Rome", not "Oslo"' in reason("tool_call", other, called(CALL))
    more = {"name": "weather", "arguments": {"unit": "C"}}
    assert 'lacks the argument "unit"' in reason("tool_call", more, called(CALL))
    two = {"function": {"name": "time", "arguments": {}}}
    assert reason("tool_call", params, called(two, CALL)) == ""


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "weather", "arguments": {"city": "Rome"}}',
        '[{"name": "weather", "parameters": {"city": "Rome"}}]',
        'Sure.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>',
        '{"name": "weather", "arguments": "{\\"city\\": \\"Rome\\"}"}',
    ],
)
def test_tool_calls_that_stand_in_the_text(text: str) -> None:
    assert reason("tool_call", {"name": "weather", "arguments": {"city": "Rome"}}, text) == ""


@pytest.mark.parametrize("text", ["[1, 2]", "{}", '"weather"', "<tool_call>{</tool_call>", "5"])
def test_texts_that_call_nothing(text: str) -> None:
    assert "calls no tool" in reason("tool_call", {"name": "weather"}, text)


# ---------------------------------------------------------------- needle

NEEDLE: dict[str, Json] = {
    "fact": "The code of the vault is 7301.",
    "answer": "7301",
    "words": 200,
    "depth": 0.25,
}


def test_the_fact_stands_where_it_was_asked_for() -> None:
    long = haystack(NEEDLE)
    assert long == haystack(NEEDLE)
    assert 200 <= len(long.split()) <= 220
    assert 0.15 < long.index(NEEDLE["fact"]) / len(long) < 0.35  # type: ignore[arg-type]
    assert haystack({**NEEDLE, "depth": 0}).startswith("The code of the vault")
    assert haystack({**NEEDLE, "depth": 1}).endswith("is 7301.")


def test_the_filler_goes_before_the_last_question() -> None:
    talk = (Message("system", "s"), Message("user", "one"), Message("assistant", "a"))
    prompt = Prompt("p", (*talk, Message("user", "What is the code?")), checks={"needle": NEEDLE})
    found = with_needle(prompt)
    assert found.messages[:3] == talk
    assert found.messages[3].content.endswith("\n\nWhat is the code?")
    assert "7301" in found.messages[3].content
    assert with_needle(PROMPT) == PROMPT


def test_a_fact_that_was_forgotten_is_told_from_one_that_was_cut_off() -> None:
    prompt = with_needle(Prompt("p", (Message("user", "?"),), checks={"needle": NEEDLE}))
    assert reason("needle", NEEDLE, answer("It is 7301!", prompt_tokens=280), prompt) == ""
    seen = reason("needle", NEEDLE, answer("No idea", prompt_tokens=280), prompt)
    assert "though all 280 tokens were seen" in seen
    cut = reason("needle", NEEDLE, answer("No idea", prompt_tokens=128), prompt)
    assert "the prompt was cut" in cut
    assert "num_ctx is too small" in cut
