"""More checks: nearness, places in JSON, tool calls, facts in long prompts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from deployq import proof
from deployq.proof.checks import Check, first_difference, quote, read_json
from deployq.types import Answer, CheckType, Json, Prompt, Verdict

DEFAULT_SIMILARITY = 0.8
_TOOL_CALL = re.compile(r"<tool_call>(?P<call>.*?)</tool_call>", re.DOTALL)
# A word of the filler is a token and a third as a rule, and hardly less than one anywhere.
LEAST_TOKENS_PER_WORD = 0.9

# ---------------------------------------------------------------- similar

SIMILAR: Mapping[str, Json] = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "object",
            "required": ["to"],
            "additionalProperties": False,
            "properties": {
                "to": {
                    "type": ["string", "array"],
                    "minLength": 1,
                    "minItems": 1,
                    "items": {"type": "string", "minLength": 1},
                },
                "least": {"type": "number", "minimum": 0, "maximum": 1},
            },
        },
    ]
}


def _similar(answer: Answer, params: Any) -> str:
    """Edit distance (Levenshtein), as a share of the longer text that stays."""
    table: Mapping[str, Any] = {"to": params} if isinstance(params, str) else params
    wanted = [table["to"]] if isinstance(table["to"], str) else table["to"]
    least = table.get("least", DEFAULT_SIMILARITY)
    found = answer.text.strip()
    scores = {text: proof.similarity(found, text.strip()) for text in wanted}
    nearest = max(scores, key=lambda text: scores[text])
    if scores[nearest] >= least:
        return ""
    return (
        f"it is {quote(found)}, only {scores[nearest]:.0%} like {quote(nearest)}; "
        f"{least:.0%} are asked for"
    )


# ---------------------------------------------------------------- json_path

JSON_PATHS: Mapping[str, Json] = {"type": "object", "minProperties": 1}


def _json_path(answer: Answer, params: Mapping[str, Any]) -> str:
    """Every path leads to its value; of several places that a path matches, one has it."""
    try:
        found = read_json(answer)
    except ValueError as exc:
        return str(exc)
    return next(filter(None, (_at(found, p, wanted) for p, wanted in params.items())), "")


def _at(document: Any, path: str, wanted: Any) -> str:
    places = list(proof.places_at(path, document))
    if not places:
        return f"there is nothing at {path} (expected {quote(wanted)})"
    differences = [first_difference(wanted, found, where) for where, found in places]
    return "" if "" in differences else differences[0]


def _json_path_mistake(params: Mapping[str, Any]) -> str:
    for path in params:
        if mistake := proof.path_mistake(path):
            return f"{quote(path)} is no JSON path: {mistake}"
    return ""


# ---------------------------------------------------------------- tool_call

TOOL_CALL: Mapping[str, Json] = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "arguments": {"type": "object"},
    },
}


def _tool_call(answer: Answer, params: Mapping[str, Any]) -> str:
    """One of the answer's calls has that name, and the arguments that are named."""
    calls = list(tool_calls(answer))
    if not calls:
        return f"it calls no tool: {quote(answer.text)}"
    faults = [_call_fault(call, params) for call in calls]
    return "" if "" in faults else faults[0]


def _call_fault(call: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    if call["name"] != params["name"]:
        return f"it calls {quote(call['name'])}, not {quote(params['name'])}"
    given = call["arguments"]
    for name, wanted in params.get("arguments", {}).items():
        if name not in given:
            return f"the call lacks the argument {quote(name)} (expected {quote(wanted)})"
        if difference := first_difference(wanted, given[name], f"arguments.{name}"):
            return difference
    return ""


def tool_calls(answer: Answer) -> Iterator[Mapping[str, Any]]:
    """Calls that the server read from the answer, else those that stand in its text as JSON."""
    message = answer.raw.get("message")
    told = message.get("tool_calls") if isinstance(message, Mapping) else None
    found = [call.get("function") for call in told or () if isinstance(call, Mapping)]  # type: ignore[union-attr]
    for candidate in found or _written_calls(answer.text):
        if isinstance(candidate, Mapping) and isinstance(candidate.get("name"), str):
            arguments = candidate.get("arguments", candidate.get("parameters")) or {}
            yield {"name": candidate["name"], "arguments": _table(arguments)}


def _written_calls(text: str) -> list[Any]:
    marked = [match["call"] for match in _TOOL_CALL.finditer(text)]
    calls: list[Any] = []
    for part in marked or [text]:
        try:
            parsed = json.loads(part)
        except (ValueError, RecursionError):
            continue
        calls += parsed if isinstance(parsed, list) else [parsed]
    return calls


def _table(arguments: Any) -> Mapping[str, Any]:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return {}
    return arguments if isinstance(arguments, Mapping) else {}


# ---------------------------------------------------------------- needle

NEEDLE: Mapping[str, Json] = {
    "type": "object",
    "required": ["fact", "answer", "words"],
    "additionalProperties": False,
    "properties": {
        "fact": {"type": "string", "minLength": 1},
        "answer": {"type": "string", "minLength": 1},
        "words": {"type": "integer", "minimum": 10, "maximum": 1_000_000},
        "depth": {"type": "number", "minimum": 0, "maximum": 1},
    },
}


@dataclass(slots=True)
class NeedleCheck:
    """Is a fact in a long prompt found? If not: was it forgotten, or cut off?

    The suite puts the fact into `words` words of filler before the prompt (needles.py).
    """

    name: str = "needle"
    schema: Mapping[str, Json] = field(default_factory=lambda: NEEDLE)

    def check(self, answer: Answer, prompt: Prompt, params: Json) -> Verdict:
        assert isinstance(params, Mapping)
        wanted = str(params["answer"])
        if wanted.casefold() in answer.text.casefold():
            return Verdict(self.name, True)
        words = sum(len(message.content.split()) for message in prompt.messages)
        if answer.prompt_tokens < LEAST_TOKENS_PER_WORD * words:
            cut = (
                f"the prompt was cut: {words} words, but the model saw {answer.prompt_tokens} "
                f"tokens; num_ctx is too small"
            )
            return Verdict(self.name, False, cut)
        seen = f"all {answer.prompt_tokens} tokens were seen"
        missed = f"{quote(wanted)} is not in the answer {quote(answer.text)}, though {seen}"
        return Verdict(self.name, False, missed)


ANSWER_CHECKS: tuple[CheckType, ...] = (
    Check("similar", SIMILAR, _similar),
    Check("json_path", JSON_PATHS, _json_path, _json_path_mistake, is_bounded=True),
    Check("tool_call", TOOL_CALL, _tool_call),
    NeedleCheck(),
)
