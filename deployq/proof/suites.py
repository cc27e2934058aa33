"""Verification suites: TOML or JSONL files of prompts with checks, read into records.

A mistake is a `SuiteError` that names the file, the prompt (or line) and the nearest right name.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from deployq import __version__, proof
from deployq.digests import sha256_bytes
from deployq.errors import PluginError, SuiteError
from deployq.proof.checks import Check
from deployq.proof.needles import with_needle
from deployq.proof.suite_files import READERS, Draft
from deployq.records import dataclass
from deployq.setting_values import nearest
from deployq.types import CheckType, Json, Message, Prompt

# Greedy and repeatable; with an end, since num_predict 0 or none would let a model that never
# stops run for ever.
DEFAULT_OPTIONS: Mapping[str, Json] = {"temperature": 0, "seed": 42, "num_predict": 512}
# What a prompt must hold to when neither it nor its suite says anything.
DEFAULT_CHECKS: Mapping[str, Json] = {"not_empty": True, "stops": True}

_TEXT: dict[str, Json] = {"type": "string", "minLength": 1}
_WHOLE: dict[str, Json] = {"type": "integer"}
_COUNT: dict[str, Json] = {"type": "integer", "minimum": 1}
_NUMBER: dict[str, Json] = {"type": "number"}
_TABLE: dict[str, Json] = {"type": "object"}
_MESSAGES: dict[str, Json] = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["role", "content"],
        "additionalProperties": False,
        "properties": {
            "role": {"enum": ["system", "user", "assistant", "tool"]},
            "content": {"type": "string"},
        },
    },
}
# What a suite may say for every prompt, and a prompt for itself.
_COMMON_KEYS: dict[str, dict[str, Json]] = {
    "name": _TEXT,
    "system": {"type": "string"},
    "options": _TABLE,
    "format": {"anyOf": [{"const": "json"}, _TABLE]},
    "think": {"type": ["boolean", "string"]},
    "check": _TABLE,
    "tools": {"type": "array", "items": _TABLE},
    "repeat": _COUNT,
    "pass_rate": {"type": "number", "minimum": 0, "maximum": 1},
}
SUITE_KEYS: Mapping[str, Mapping[str, Json]] = {
    **_COMMON_KEYS,
    "threshold": {"type": "number", "minimum": 0, "maximum": 1},
    "prompts": {"type": "array", "items": _TABLE},
    "datasets": {"type": "array", "items": _TABLE},
}
PROMPT_KEYS: Mapping[str, Mapping[str, Json]] = {
    **_COMMON_KEYS,
    "user": _TEXT,
    "messages": _MESSAGES,
}
# The options that Ollama 0.34 knows; it takes any other without a word, and a wrong type is a
# 500 when the model is loaded.
OPTIONS: Mapping[str, Mapping[str, Json]] = {
    **dict.fromkeys(("num_ctx", "num_batch", "num_predict"), _COUNT),
    **dict.fromkeys(("num_gpu", "main_gpu", "num_thread", "num_keep", "seed", "top_k"), _WHOLE),
    **dict.fromkeys(
        ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty"), _NUMBER
    ),
    # what is smaller the engine refuses in every answer
    "repeat_last_n": {"type": "integer", "minimum": 0},
    "repeat_penalty": {"type": "number", "minimum": 1e-6},
    "draft_num_predict": _WHOLE,
    "use_mmap": {"type": "boolean"},
    "stop": {"type": "array", "items": _TEXT},
}


@runtime_checkable
class ValidatingCheck(Protocol):
    """A check that can find mistakes in its parameters that no JSON schema finds."""

    def validate(self, params: Json) -> str:
        """What is wrong, in words; "" when nothing is."""
        ...


@dataclass(frozen=True)
class Suite:
    """Prompts with checks; at least the share `threshold` (0 to 1) of them must pass.

    `digest` is the hex sha256 of the content as it was understood: comments, spelling and the
    file's format don't change it.
    """

    name: str
    prompts: tuple[Prompt, ...]
    threshold: float
    digest: str


@dataclass(frozen=True)
class _Rules:
    """What tables are held to; `is_known`: their shapes have been looked at in an earlier run."""

    checks: Mapping[str, CheckType]
    is_known: bool

    def fault(self, schema: Mapping[str, Json], value: Any) -> str:
        return "" if self.is_known else proof.schema_fault(schema, value)

    def check_fault(self, name: str, params: Json) -> str:
        """What is wrong with a check's parameters.

        Raises:
            PluginError: its own schema is broken.
        """
        check = self.checks[name]
        if not self.is_known and (mistake := proof.schema_mistake(check.schema)):
            raise PluginError(f"the check {name!r} is broken: {mistake}")
        fault = self.fault(check.schema, params)
        if fault or not isinstance(check, ValidatingCheck):
            return fault
        # what one of deployq's own finds depends on nothing but the parameters
        return "" if self.is_known and isinstance(check, Check) else check.validate(params)


def load_suite(
    path: Path, checks: Mapping[str, CheckType], remembered: Path | None = None
) -> Suite:
    """Read a suite.

    Args:
        path: a `.toml` file, or a `.jsonl` (`.ndjson`) one with a prompt a line.
        checks: the checks that there are, by name.
        remembered: a folder that remembers what suites held when they had no mistake; the same
            is not held against its schemas again.

    Raises:
        SuiteError: it can't be read, or has a mistake.
        PluginError: a check's own schema is broken.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise SuiteError(f"{path} is no suite: it should end in .toml or .jsonl")
    whole, drafts = reader(path)
    if not drafts:
        raise SuiteError(f"{path} has no prompts", hint='add one: [[prompts]] with user = "..."')
    mark = remembered / _fingerprint([whole, *drafts], checks) if remembered else None
    rules = _Rules(checks, is_known=mark is not None and mark.exists())
    _check_table(whole, SUITE_KEYS, rules)
    prompts = tuple(
        _prompt(draft, f"prompt-{number}", whole.content, rules)
        for number, draft in enumerate(drafts, 1)
    )
    if mark is not None and not rules.is_known:
        _remember(mark)
    _refuse_twins(path, prompts)
    content = whole.content
    return _suite(content.get("name", path.stem), prompts, content.get("threshold", 1.0))


def _fingerprint(drafts: list[Draft], checks: Mapping[str, CheckType]) -> str:
    schemas = {name: check.schema for name, check in checks.items()}
    content = [__version__, [draft.content for draft in drafts], schemas]
    return sha256_bytes(json.dumps(content, sort_keys=True, default=str))


def _remember(mark: Path) -> None:
    with contextlib.suppress(OSError):  # the next run looks again
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def smoke_suite() -> Suite:
    """What is asked without a suite: does the model load, answer, and stop by itself?"""
    prompt = Prompt(
        name="smoke",
        messages=(Message("user", "Say hello in one short sentence."),),
        options=DEFAULT_OPTIONS,
        checks=DEFAULT_CHECKS,
    )
    return _suite("smoke", (prompt,), 1.0)


def _suite(name: str, prompts: tuple[Prompt, ...], threshold: float) -> Suite:
    content = {
        "name": name,
        "threshold": float(threshold),
        "prompts": [_content(prompt) for prompt in prompts],
    }
    digest = sha256_bytes(json.dumps(content, sort_keys=True))
    return Suite(name, prompts, float(threshold), digest)


def _content(prompt: Prompt) -> dict[str, Any]:
    """A prompt for the digest; what says nothing is left out, so older digests stay."""
    content = asdict(prompt)
    for name, silent in (("tools", ()), ("repeat", 1), ("pass_rate", 1.0)):
        if content[name] == silent:
            del content[name]
    return content


def _refuse_twins(path: Path, prompts: tuple[Prompt, ...]) -> None:
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.name in seen:
            raise SuiteError(f"{path}: two prompts are called {prompt.name!r}")
        seen.add(prompt.name)


# ---------------------------------------------------------------- tables


def _check_table(draft: Draft, keys: Mapping[str, Mapping[str, Json]], rules: _Rules) -> None:
    for key, value in draft.content.items():
        unknown = f"{draft.where}: unknown key"
        _check_value(f"{draft.where}: {key}", key, value, keys, unknown, rules)
    for name, value in draft.content.get("options", {}).items():
        if name == "num_predict" and isinstance(value, int) and value < 1:
            raise SuiteError(
                f"{draft.where}: options.num_predict is {value}, which means without end",
                hint="give the most tokens that an answer may have, 512 for example",
            )
        where = f"{draft.where}: options.{name}"
        _check_value(where, name, value, OPTIONS, f"{draft.where}: unknown option", rules)
    for name, params in draft.content.get("check", {}).items():
        _check_check(draft.where, name, params, rules)


def _check_value(
    where: str,
    key: str,
    value: Any,
    known: Mapping[str, Mapping[str, Json]],
    unknown: str,
    rules: _Rules,
) -> None:
    if key not in known:
        raise SuiteError(
            f"{unknown} {key!r}{nearest(key, known)}", hint=f"known: {', '.join(sorted(known))}"
        )
    if fault := rules.fault(known[key], value):
        raise SuiteError(f"{where}: {fault}")


def _check_check(where: str, name: str, params: Json, rules: _Rules) -> None:
    if name not in rules.checks:
        raise SuiteError(
            f"{where}: unknown check {name!r}{nearest(name, rules.checks)}",
            hint=f"known: {', '.join(sorted(rules.checks))}; "
            "more come with plugins: deployq plugins",
        )
    if fault := rules.check_fault(name, params):
        raise SuiteError(f"{where}: check.{name}: {fault}")


def _prompt(draft: Draft, default_name: str, suite: Mapping[str, Any], rules: _Rules) -> Prompt:
    _check_table(draft, PROMPT_KEYS, rules)
    own = draft.content
    asked = {**suite.get("check", {}), **own.get("check", {})}
    silent = "check" not in suite and "check" not in own
    prompt = Prompt(
        name=own.get("name", default_name),
        messages=_messages(draft, suite),
        options={**DEFAULT_OPTIONS, **suite.get("options", {}), **own.get("options", {})},
        checks=DEFAULT_CHECKS if silent else _asked_for(asked, rules.checks),
        format=own.get("format", suite.get("format")),
        think=own.get("think", suite.get("think", False)),
        tools=tuple(own.get("tools", suite.get("tools", ()))),
        repeat=own.get("repeat", suite.get("repeat", 1)),
        pass_rate=float(own.get("pass_rate", suite.get("pass_rate", 1.0))),
    )
    return with_needle(prompt)


def _asked_for(asked: Mapping[str, Json], checks: Mapping[str, CheckType]) -> dict[str, Json]:
    """The checks without the flags that are turned off."""
    return {
        name: params
        for name, params in asked.items()
        if params is not False or checks[name].schema.get("type") != "boolean"
    }


def _messages(draft: Draft, suite: Mapping[str, Any]) -> tuple[Message, ...]:
    own = draft.content
    if ("user" in own) == ("messages" in own):
        raise SuiteError(f"{draft.where} needs a user text or messages, one of the two")
    given = own.get("messages") or [{"role": "user", "content": own["user"]}]
    messages = tuple(Message(m["role"], m["content"]) for m in given)
    system = own.get("system", suite.get("system"))
    if system is None or messages[0].role == "system":
        return messages
    return (Message("system", system), *messages)
