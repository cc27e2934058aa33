"""The checks that deployq brings: assertions on one answer.

A check's parameters come from a suite (`check.contains = "Paris"`). A flag (`stops`, `json`,
`not_empty`) is asked for with `true`; `false` on a prompt turns off what the suite asks for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deployq import proof
from deployq.proof.bounded import CHILD
from deployq.types import Answer, CheckType, Json, Prompt, Verdict

QUOTE_CHARACTERS = 120

FLAG: Mapping[str, Json] = {"type": "boolean"}
# `minLength` speaks of texts and `minItems` of lists, so one schema serves both spellings.
TEXTS: Mapping[str, Json] = {
    "type": ["string", "array"],
    "minLength": 1,
    "minItems": 1,
    "items": {"type": "string", "minLength": 1},
}


def no_mistake(params: Any) -> str:  # noqa: ARG001  (every `mistake` has one shape)
    """Parameters that match their schema and can't be wrong otherwise."""
    return ""


@dataclass(slots=True)
class Check:
    """A built-in check.

    `fault` says in words what is wrong with an answer, `mistake` what is wrong with parameters
    that match the schema; both say nothing ("") when all is well. One that `is_bounded` follows
    patterns that a suite brings, so it runs in a child process that can be ended.
    """

    name: str
    schema: Mapping[str, Json]
    fault: Callable[[Answer, Any], str]
    mistake: Callable[[Any], str] = no_mistake
    is_bounded: bool = False

    def check(self, answer: Answer, prompt: Prompt, params: Json) -> Verdict:  # noqa: ARG002
        if self.is_bounded:
            reason = CHILD.fault(self.name, answer, params)
        else:
            reason = self.fault(answer, params)
        return Verdict(self.name, not reason, reason)

    def validate(self, params: Json) -> str:
        """What is wrong with parameters from a suite; "" when nothing is."""
        return self.mistake(params)


def quote(value: Any) -> str:
    """A value as JSON on one line, cut to about `QUOTE_CHARACTERS`."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= QUOTE_CHARACTERS:
        return text
    return f"{text[:QUOTE_CHARACTERS]}… ({len(text)} characters)"


def _texts(params: str | list[str]) -> list[str]:
    return [params] if isinstance(params, str) else params


# ---------------------------------------------------------------- the text


def _equals(answer: Answer, expected: str) -> str:
    found = answer.text.strip()
    return "" if found == expected.strip() else f"it is {quote(found)}, not {quote(expected)}"


def _contains(answer: Answer, params: str | list[str]) -> str:
    missing = [quote(text) for text in _texts(params) if text not in answer.text]
    return f"it does not contain {', '.join(missing)}" if missing else ""


def _not_contains(answer: Answer, params: str | list[str]) -> str:
    present = [quote(text) for text in _texts(params) if text in answer.text]
    return f"it contains {', '.join(present)}" if present else ""


def _regex(answer: Answer, params: str | list[str]) -> str:
    missed = [quote(p) for p in _texts(params) if not re.search(p, answer.text)]
    return f"nothing in it matches {', '.join(missed)}" if missed else ""


def _regex_mistake(params: str | list[str]) -> str:
    for pattern in _texts(params):
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as exc:
            return f"{quote(pattern)} is no regular expression: {exc}"
    return ""


def _not_empty(answer: Answer, params: bool) -> str:  # noqa: ARG001
    if answer.text.strip():
        return ""
    if answer.thinking.strip():
        return f"it is empty; all of its {answer.tokens} tokens went into thinking"
    return f"it is empty ({answer.tokens} tokens)"


# ---------------------------------------------------------------- JSON


def read_json(answer: Answer) -> Json:
    """The answer's text as JSON, strictly: no NaN, no Infinity.

    Raises:
        ValueError: it is none; the message is a check's reason.
    """
    if not answer.text.strip():
        raise ValueError("it is empty, not JSON")
    try:
        return _parse(answer.text)
    except (ValueError, RecursionError) as exc:
        raise ValueError(_why_no_json(answer, exc)) from exc


def _parse(text: str) -> Json:
    parsed: Json = json.loads(text, parse_constant=_refuse_constant)
    return parsed


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is no JSON")


def _why_no_json(answer: Answer, exc: Exception) -> str:
    if _is_json(_inside_fence(answer.text)):
        return "it is wrapped in a ``` fence; what stands inside is valid JSON"
    cut = f"; it was cut off after {answer.tokens} tokens" if answer.done_reason == "length" else ""
    why = "it nests too deeply" if isinstance(exc, RecursionError) else str(exc)
    return f"it is not JSON: {why}{cut}"


def _inside_fence(text: str) -> str:
    """What is inside a code fence that is all of a text; "" where there is none."""
    text = text.strip()
    _, line_end, inside = text.partition("\n")
    return inside.removesuffix("```") if text.startswith("```") and line_end else ""


def _is_json(text: str) -> bool:
    try:
        _parse(text)
    except (ValueError, RecursionError):
        return False
    return True


def _json(answer: Answer, params: bool) -> str:  # noqa: ARG001
    try:
        read_json(answer)
    except ValueError as exc:
        return str(exc)
    return ""


def _json_equals(answer: Answer, params: Json) -> str:
    expected = _parse(params) if isinstance(params, str) else params
    try:
        return first_difference(expected, read_json(answer))
    except ValueError as exc:
        return str(exc)


def _json_equals_mistake(params: Json) -> str:
    if isinstance(params, str) and not _is_json(params):
        return f"{quote(params)} is not JSON; a text is read as JSON (TOML has no null)"
    return ""


def first_difference(expected: Any, found: Any, path: str = "$") -> str:
    """Where and how two JSON values differ first; "" if they are equal.

    The order of keys does not count, 1 equals 1.0, and true equals no number.
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        return next(_key_differences(expected, found, path), "")
    if isinstance(expected, list) and isinstance(found, list):
        return next(_item_differences(expected, found, path), "")
    same = isinstance(expected, bool) == isinstance(found, bool) and expected == found
    return "" if same else f"{path} is {quote(found)}, not {quote(expected)}"


def _key_differences(expected: Any, found: Any, path: str) -> Iterator[str]:
    for key, value in expected.items():
        at = f"{path}.{key}" if key.isidentifier() else f"{path}[{quote(key)}]"
        if key not in found:
            yield f"{at} is missing (expected {quote(value)})"
        elif difference := first_difference(value, found[key], at):
            yield difference
    for key in found:
        if key not in expected:
            yield f"{path} has a key too many: {quote(key)} ({quote(found[key])})"


def _item_differences(expected: Any, found: Any, path: str) -> Iterator[str]:
    for index, (wanted, item) in enumerate(zip(expected, found, strict=False)):
        if difference := first_difference(wanted, item, f"{path}[{index}]"):
            yield difference
    if len(expected) != len(found):
        yield f"{path} has {len(found)} items, not {len(expected)}"


def _json_schema(answer: Answer, schema: Mapping[str, Any]) -> str:
    try:
        found = read_json(answer)
    except ValueError as exc:
        return str(exc)
    return proof.schema_fault(schema, found)


def _json_schema_mistake(schema: Mapping[str, Json]) -> str:
    return proof.schema_mistake(schema)


# ---------------------------------------------------------------- how it was made


def _stops(answer: Answer, params: bool) -> str:  # noqa: ARG001
    if answer.done_reason == "stop":
        return ""
    if answer.done_reason == "length":
        return f"it did not end by itself: cut off after {answer.tokens} tokens"
    return f"it did not end by itself (done_reason {quote(answer.done_reason)})"


def _max_tokens(answer: Answer, limit: int) -> str:
    over = answer.tokens > limit
    return f"it has {answer.tokens} tokens, more than {limit}" if over else ""


def _max_seconds(answer: Answer, limit: float) -> str:
    # Loading the model is paid once, by whichever prompt comes first.
    seconds = max(0.0, answer.wall_seconds - answer.load_seconds)
    return f"it took {seconds:.1f} s, more than {limit:g} s" if seconds > limit else ""


BUILTIN_CHECKS: tuple[CheckType, ...] = (
    Check("equals", {"type": "string"}, _equals),
    Check("contains", TEXTS, _contains),
    Check("not_contains", TEXTS, _not_contains),
    Check("regex", TEXTS, _regex, _regex_mistake, is_bounded=True),
    Check("json", FLAG, _json),
    Check("json_schema", {"type": "object"}, _json_schema, _json_schema_mistake, is_bounded=True),
    Check("json_equals", {}, _json_equals, _json_equals_mistake),
    Check("max_tokens", {"type": "integer", "minimum": 1}, _max_tokens),
    Check("stops", FLAG, _stops),
    Check("max_seconds", {"type": "number", "exclusiveMinimum": 0}, _max_seconds),
    Check("not_empty", FLAG, _not_empty),
)
