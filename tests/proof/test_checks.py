"""The built-in checks, each with what it lets through and what it finds."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployq.proof.answers_checks import tool_calls
from deployq.proof.checks import BUILTIN_CHECKS, QUOTE_CHARACTERS, Check, first_difference, quote
from deployq.types import Answer, CheckType, Message, Prompt, Verdict

CHECKS = {check.name: check for check in BUILTIN_CHECKS}
PROMPT = Prompt("p", (Message("user", "hi"),))


def answer(text: str = "", **changed: Any) -> Answer:
    fields: dict[str, Any] = {
        "text": text,
        "done_reason": "stop",
        "prompt_tokens": 9,
        "tokens": 12,
        "eval_seconds": 0.1,
        "load_seconds": 0.0,
        "wall_seconds": 0.2,
    }
    return Answer(**{**fields, **changed})


def reason(name: str, params: Any, given_answer: Answer | str) -> str:
    """Why the check failed; "" if it didn't."""
    if isinstance(given_answer, str):
        given_answer = answer(given_answer)
    verdict = CHECKS[name].check(given_answer, PROMPT, params)
    assert verdict == Verdict(name, not verdict.reason, verdict.reason)
    return verdict.reason


def mistake(name: str, params: Any) -> str:
    check = CHECKS[name]
    assert isinstance(check, Check)
    return check.validate(params)


def test_these_are_the_checks() -> None:
    assert list(CHECKS) == [
        "equals",
        "contains",
        "not_contains",
        "regex",
        "json",
        "json_schema",
        "json_equals",
        "max_tokens",
        "stops",
        "max_seconds",
        "not_empty",
    ]


@pytest.mark.parametrize("check", BUILTIN_CHECKS, ids=lambda check: check.name)
def test_each_keeps_the_protocol_and_has_a_sound_schema(check: CheckType) -> None:
    assert isinstance(check, CheckType)
    jsonschema.Draft202012Validator.check_schema(dict(check.schema))


CUT_OFF = (
    "it is not JSON: Expecting value: line 1 column 7 (char 6); it was cut off after 128 tokens"
)
# Name, parameters, answer, reason ("" where it passes).
CASES: list[tuple[str, Any, Answer | str, str]] = [
    ("equals", "Paris", " Paris\n", ""),
    ("equals", "Paris", "paris", 'it is "paris", not "Paris"'),
    ("contains", "Paris", "It is Paris.", ""),
    ("contains", ["a", "b", "c"], "a", 'it does not contain "b", "c"'),
    ("not_contains", "sorry", "Sure", ""),
    ("not_contains", ["sorry", "As an AI"], "I am sorry", 'it contains "sorry"'),
    ("regex", r"^\d{4}-\d\d$", "2026-11", ""),
    ("regex", [r"(?i)paris", r"\d"], "Paris", r'nothing in it matches "\\d"'),
    ("json", True, '{"a": [1, null]}', ""),
    ("json", True, " \n", "it is empty, not JSON"),
    ("json", True, "Sure!", "it is not JSON: Expecting value: line 1 column 1 (char 0)"),
    ("json", True, '{"a": NaN}', "it is not JSON: NaN is no JSON"),
    ("json", True, "[" * 100_000, "it is not JSON: it nests too deeply"),
    (
        "json",
        True,
        '```json\n{"a": 1}\n```\n',
        "it is wrapped in a ``` fence; what stands inside is valid JSON",
    ),
    (
        "json",
        True,
        "```json\n{a\n```",
        "it is not JSON: Expecting value: line 1 column 1 (char 0)",
    ),
    (
        "json",
        True,
        answer('{"a": ', done_reason="length", tokens=128),
        CUT_OFF,
    ),
    ("json_equals", {"a": 1, "b": [True]}, '{"b": [true], "a": 1.0}', ""),
    ("json_equals", '{"due": null}', '{"due": null}', ""),
    ("json_equals", '{"due": null}', "{}", "$.due is missing (expected null)"),
    ("json_equals", False, "false", ""),
    ("json_equals", {"a": {"b": 2}}, '{"a": {"b": "2"}}', '$.a.b is "2", not 2'),
    ("json_equals", {"a": 1}, '{"a": true}', "$.a is true, not 1"),
    ("json_equals", {"a": 1}, '{"a": 1, "due date": 2}', '$ has a key too many: "due date" (2)'),
    ("json_equals", {"due date": 1}, '{"due date": 2}', '$["due date"] is 2, not 1'),
    ("json_equals", {"a": [1, 2]}, '{"a": [1, 2, 3]}', "$.a has 3 items, not 2"),
    ("json_equals", {"a": [1, 2]}, '{"a": [1, 9, 3]}', "$.a[1] is 9, not 2"),
    ("json_equals", {"a": 1}, "[1]", '$ is [1], not {"a": 1}'),
    ("json_equals", {}, "no", "it is not JSON: Expecting value: line 1 column 1 (char 0)"),
    ("json_schema", {"required": ["a"]}, '{"a": 1}', ""),
    ("json_schema", {"required": ["a"]}, "{}", "'a' is a required property"),
    (
        "json_schema",
        {"properties": {"a": {"type": "integer"}}},
        '{"a": "x"}',
        "$.a: 'x' is not of type 'integer'",
    ),
    (
        "json_schema",
        {"properties": {"day": {"type": "string", "format": "date"}}},
        '{"day": "Friday"}',
        "$.day: 'Friday' is not a 'date'",
    ),
    ("json_schema", {"$ref": "#/$defs/a", "$defs": {"a": {"const": 1}}}, "1", ""),
    (
        "json_schema",
        {},
        "",
        "it is empty, not JSON",
    ),
    ("max_tokens", 12, answer(tokens=12), ""),
    ("max_tokens", 12, answer(tokens=13), "it has 13 tokens, more than 12"),
    ("stops", True, answer(), ""),
    (
        "stops",
        True,
        answer(done_reason="length", tokens=64),
        "it did not end by itself: cut off after 64 tokens",
    ),
    (
        "stops",
        True,
        answer(done_reason="load"),
        'it did not end by itself (done_reason "load")',
    ),
    ("max_seconds", 2, answer(wall_seconds=2.0), ""),
    ("max_seconds", 2, answer(wall_seconds=9.0, load_seconds=7.5), ""),
    ("max_seconds", 0.5, answer(wall_seconds=2.54), "it took 2.5 s, more than 0.5 s"),
    ("not_empty", True, "x", ""),
    ("not_empty", True, answer(" \n", tokens=3), "it is empty (3 tokens)"),
    (
        "not_empty",
        True,
        answer("", thinking="hmm", tokens=99),
        "it is empty; all of its 99 tokens went into thinking",
    ),
]


@pytest.mark.parametrize(("name", "params", "given_answer", "expected"), CASES)
def test_verdicts(name: str, params: Any, given_answer: Answer | str, expected: str) -> None:
    jsonschema.validate(params, dict(CHECKS[name].schema))
    assert mistake(name, params) == ""
    assert reason(name, params, given_answer) == expected


def test_every_check_passes_and_fails_in_these_cases() -> None:
    seen = {(name, bool(expected)) for name, _, _, expected in CASES}
    assert seen == {(name, failed) for name in CHECKS for failed in (True, False)}


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("regex", ["ok", "(un"], '"(un" is no regular expression: missing )'),
        ("regex", "a{99999999999}", "is no regular expression"),
        ("json_equals", "Friday", '"Friday" is not JSON; a text is read as JSON'),
        ("json_schema", {"type": "strin"}, "it is no JSON schema: $.type: 'strin' is not valid"),
        ("json_schema", {"pattern": "(un"}, "it is no JSON schema: $.pattern"),
        ("json_schema", {"$ref": "#/$defs/gone"}, 'its reference "#/$defs/gone" leads nowhere'),
        (
            "json_schema",
            {"items": [{"$ref": "https://example.com/a.json"}]},
            "it is no JSON schema",
        ),
        (
            "json_schema",
            {"allOf": [{"$ref": "https://example.com/a.json"}]},
            'its reference "https://example.com/a.json" leads nowhere inside it',
        ),
    ],
)
def test_mistakes_in_parameters(name: str, params: Any, expected: str) -> None:
    assert expected in mistake(name, params)


def test_a_long_value_is_cut() -> None:
    assert (
        quote("x" * QUOTE_CHARACTERS) == '"' + "x" * (QUOTE_CHARACTERS - 1) + "… (122 characters)"
    )
    assert quote("kurz ü\n") == '"kurz ü\\n"'
    assert len(reason("equals", "a", "b" * 10_000)) < 200
    assert len(reason("json_schema", {"type": "object"}, json.dumps(["b"] * 10_000))) < 200


# ---------------------------------------------------------------- json_equals, by property

Values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def backwards(value: Any) -> Any:
    """The same JSON value, its keys in reverse order and its whole numbers as floats."""
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return [backwards(item) for item in value]
    return float(value) if type(value) is int else value


def strict(value: Any) -> Any:
    """A form in which == is JSON equality: true is not 1, 1 is 1.0."""
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [strict(item) for item in value]
    return (type(value) is bool, value)


@given(Values)
def test_a_value_equals_itself_in_any_spelling(value: Any) -> None:
    assert first_difference(value, backwards(value)) == ""
    assert reason("json_equals", json.dumps(value), json.dumps(backwards(value))) == ""


@given(Values, Values)
def test_there_is_a_difference_exactly_when_values_differ(one: Any, other: Any) -> None:
    differ = strict(one) != strict(other)
    assert bool(first_difference(one, other)) is differ
    assert bool(first_difference(other, one)) is differ


@given(st.floats())
def test_what_is_no_json_is_refused(value: float) -> None:
    found = reason("json", True, json.dumps(value))
    assert bool(found) is not math.isfinite(value)


@pytest.mark.parametrize("text", ["```" + "\n" * 50_000 + "x", "<tool_call>" + " " * 50_000 + "x"])
def test_an_answer_of_blanks_takes_no_time(text: str) -> None:
    started = time.monotonic()
    assert "it is not JSON" in reason("json", True, text)
    assert not list(tool_calls(answer(text)))
    assert time.monotonic() - started < 30
