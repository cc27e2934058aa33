"""PARAMETER of a Modelfile: the names that count, their types and their ranges.

A server checks none of it when a tag is created (a wrong type is an error 500 at the first
load), so deployq does. Names and types are those of Ollama 0.34.4 (`api/types.go`, Options); the
ranges are those that its engine took when each edge was tried, or narrower where a value is taken
and means something else (a top_p of 1.5).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Literal

from deployq.errors import ModelfileError
from deployq.records import dataclass
from deployq.types import Json

Value = str | int | float | bool | tuple[str, ...]

_INT32 = 2**31 - 1
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
# What Go's strconv.ParseBool takes.
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


@dataclass(frozen=True)
class Rule:
    """What one parameter takes: its type, and its range where it is a number.

    `why` says what becomes of a value outside of it, where that is not plain.
    """

    type: Literal["int", "float", "bool", "stop"]
    low: float = 0
    high: float = _INT32
    why: str = ""


RULES: Mapping[str, Rule] = {
    "num_ctx": Rule("int", 1),
    "num_batch": Rule("int", 2, why="llama-server aborts while it loads the model"),
    "num_gpu": Rule("int", -1),
    "main_gpu": Rule("int", 0),
    "use_mmap": Rule("bool"),
    "num_thread": Rule("int", 0, 1024, why="llama-server crashes on far more"),
    "num_keep": Rule("int", -1),
    "seed": Rule("int", -1, 2**32 - 1),
    "num_predict": Rule("int", -2),
    "draft_num_predict": Rule("int", 0),
    "top_k": Rule("int", 0),
    "top_p": Rule("float", 0, 1),
    "min_p": Rule("float", 0, 1),
    "repeat_last_n": Rule("int", why="the engine refuses it in every chat; it was the context"),
    "temperature": Rule("float", 0, 100),
    "repeat_penalty": Rule("float", 1e-6, 100, why="the engine refuses 0 in every chat; 1 is off"),
    "presence_penalty": Rule("float", -2, 2),
    "frequency_penalty": Rule("float", -2, 2),
    "stop": Rule("stop"),
}

DROPPED = frozenset(
    (
        *("mirostat", "mirostat_tau", "mirostat_eta", "penalize_newline", "tfs_z", "numa"),
        *("low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock", "embedding_only"),
    )
)


def read(name: str, text: str) -> Value:
    """The value of one PARAMETER line; a `stop` gives a tuple of one.

    Raises:
        ModelfileError: unknown, dropped by Ollama, of a wrong type or out of range.
    """
    rule = rule_of(name)
    if rule.type == "stop":
        return check(name, (text,))
    if rule.type == "bool":
        return check(name, _BOOLEANS.get(text, text))
    pattern, convert = (_INTEGER, int) if rule.type == "int" else (_DECIMAL, float)
    return check(name, convert(text) if pattern.fullmatch(text) and len(text) < 40 else text)


def check_setting(name: str, value: Json) -> None:
    """Make sure that a value of a configuration can become PARAMETER lines; `stop` takes a list.

    Raises:
        ModelfileError: as for `read`.
    """
    if name == "stop" and isinstance(value, list):
        check(name, tuple(value))
    elif isinstance(value, str):
        read(name, value)
    else:
        check(name, value)  # type: ignore[arg-type]


def stops_of(name: str, value: Json) -> tuple[str, ...]:
    """The stops that a value of a configuration names, where it is one of `stop`."""
    if name != "stop":
        return ()
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),)


def check(name: str, value: Value) -> Value:
    """The value, if Ollama would take it and mean the same by it.

    Raises:
        ModelfileError: as for `read`.
    """
    rule = rule_of(name)
    fault = _FAULTS[rule.type](rule, value)
    if not fault and name == "num_predict" and value == 0:
        fault = "0 means without limit to Ollama; say -1 if that is meant"
    if fault:
        raise ModelfileError(f"PARAMETER {name}: {fault}")
    return value


def rule_of(name: str) -> Rule:
    """The rule of a parameter.

    Raises:
        ModelfileError: there is no such parameter, or it does nothing any more.
    """
    if name in RULES:
        return RULES[name]
    if name in DROPPED:
        raise ModelfileError(f"PARAMETER {name}: Ollama knows it no longer and drops it")
    if name == "typical_p":
        raise ModelfileError("PARAMETER typical_p: servers from Ollama 0.34.1 on refuse it")
    near = difflib.get_close_matches(name.lower(), RULES, n=1)
    raise ModelfileError(
        f"PARAMETER {name}: Ollama has no such parameter",
        hint=f"did you mean {near[0]}?" if near else f"there are: {', '.join(RULES)}",
    )


def show(value: Value) -> str:
    """A number or a switch as a PARAMETER line carries it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number_fault(rule: Rule, value: Value) -> str:
    kinds = (int,) if rule.type == "int" else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        wanted = "a whole number" if rule.type == "int" else "a number"
        return f"{value!r} is not {wanted}{_comment_hint(value)}"
    if not rule.low <= float(value) <= rule.high:
        why = f": {rule.why}" if rule.why else ""
        return f"{value} is not between {rule.low:g} and {rule.high:.0f}{why}"
    return ""


def _bool_fault(_: Rule, value: Value) -> str:
    fault = f"{value!r} is neither true nor false{_comment_hint(value)}"
    return "" if isinstance(value, bool) else fault


def _stop_fault(_: Rule, value: Value) -> str:
    if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
        return f"{value!r} is neither a text nor a list of texts"
    if not value or not all(value):
        return "an empty stop would end every answer before it starts"
    return ""


def _comment_hint(value: Value) -> str:
    hint = " (a Modelfile has no comments at the end of a line)"
    return hint if isinstance(value, str) and "#" in value else ""


_FAULTS = {"int": _number_fault, "float": _number_fault, "bool": _bool_fault, "stop": _stop_fault}
