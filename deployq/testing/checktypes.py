"""The contract of `deployq.CheckType`, as checks for its author's own tests."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jsonschema

from deployq.testing.calls import SECONDS, at_once, called, kind_of
from deployq.testing.must import must
from deployq.types import Answer, CheckType, Json, Message, Prompt, Verdict

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PROMPT = Prompt("a prompt", (Message("user", "Say something."),))
_THREADS = 8


def check_checktype(
    check: CheckType,
    params: Json,
    *,
    passes: str | Answer,
    fails: str | Answer,
    prompt: Prompt = _PROMPT,
    seconds: float = SECONDS,
) -> None:
    """Hold a check against the contract of `deployq.CheckType`.

    Args:
        check: the object that your hook gives.
        params: what a suite gives it: `check.NAME = params`.
        passes: an answer that it lets pass; a text is one that ended by itself.
        fails: an answer that it does not.
        prompt: what was asked.
        seconds: the most that one call may take.

    Raises:
        AssertionError: it breaks the contract; the message says how.
    """
    must(isinstance(check, CheckType), f"{check!r} lacks a part of deployq.CheckType")
    name = check.name
    must(
        isinstance(name, str) and bool(_NAME.fullmatch(name)),
        f"its name is {name!r}: a suite has it as a key (small letters, digits, _)",
    )
    check_checktype_params(check, params)
    good, bad = _answer(passes), _answer(fails)
    judge = _Judge(check, prompt, params, seconds)
    must(judge.verdict(good).ok, f"{name} fails the answer that passes: {judge.verdict(good)}")
    verdict = judge.verdict(bad)
    must(not verdict.ok, f"{name} passes the answer that fails: {bad.text!r}")
    must(bool(verdict.reason.strip()), f"{name} fails an answer and gives no reason")
    must(judge.verdict(bad) == verdict, f"{name} judges the same answer in another way next time")
    check_checktype_odd_answers(check, params, prompt=prompt, seconds=seconds)
    _check_at_once(judge, good, bad)


def check_checktype_params(check: CheckType, params: Json) -> None:
    """Its schema is a JSON schema, and the parameters match it."""
    schema = check.schema
    must(isinstance(schema, Mapping), f"its schema is {kind_of(schema)}, no mapping")
    try:
        jsonschema.Draft202012Validator.check_schema(dict(schema))
    except jsonschema.SchemaError as exc:
        raise AssertionError(f"{check.name}: its schema is no JSON schema: {exc.message}") from exc
    try:
        json.dumps(dict(schema))
        jsonschema.validate(params, dict(schema))
    except (TypeError, ValueError) as exc:
        raise AssertionError(f"{check.name}: its schema is not all JSON: {exc}") from exc
    except jsonschema.ValidationError as exc:
        raise AssertionError(f"{params!r} does not match its schema: {exc.message}") from exc
    validate = getattr(check, "validate", None)
    if validate is not None:
        said = validate(params)
        must(said == "", f"{check.name}.validate() says of good parameters: {said!r}, not ''")


def check_checktype_odd_answers(
    check: CheckType, params: Json, *, prompt: Prompt = _PROMPT, seconds: float = SECONDS
) -> None:
    """Whatever a model answers gets a verdict: nothing, much, cut off, no text at all."""
    judge = _Judge(check, prompt, params, seconds)
    texts = (
        "",
        " \n\t",
        "\x00\x07",
        "é ü 模型 \U0001f9ea \u202e",
        '{"a": [1, {"b": null}]}',
        "{",
        "[" * 500,
    )
    for text in texts:
        judge.verdict(_answer(text))
    judge.verdict(_answer("word " * 20_000))
    cut = replace(_answer("cut of"), done_reason="length")
    judge.verdict(cut)
    judge.verdict(replace(_answer(""), thinking="hm", tokens=0, done_reason=""))


class _Judge:
    """Asks a check, and holds each of its calls against the rules of all calls."""

    def __init__(self, check: CheckType, prompt: Prompt, params: Json, seconds: float) -> None:
        self.check, self.prompt, self.params, self.seconds = check, prompt, params, seconds

    def verdict(self, answer: Answer) -> Verdict:
        what = f"{self.check.name}.check() of {_short(answer)}"
        given: Any = copy.deepcopy(self.params)
        found = called(lambda: self.bare(answer, given), what, self.seconds, may_fail=False)
        must(isinstance(found, Verdict), f"{what} gives {kind_of(found)}, no deployq.Verdict")
        must(isinstance(found.ok, bool), f"{what}: ok is {found.ok!r}, neither True nor False")
        must(isinstance(found.reason, str), f"{what}: its reason is {found.reason!r}, no text")
        must(
            found.check == self.check.name,
            f"{what}: the verdict is that of {found.check!r}, not of {self.check.name!r}",
        )
        must(given == self.params, f"{what} changes its parameters: {given!r}")
        verdict: Verdict = found
        return verdict

    def bare(self, answer: Answer, params: Json) -> Verdict:
        return self.check.check(answer, self.prompt, params)


def _check_at_once(judge: _Judge, good: Answer, bad: Answer) -> None:
    """Answers come from several servers at once: one answer's verdict is not another's."""
    answers = [good, bad] * (_THREADS // 2)

    def many(answer: Answer) -> set[bool]:
        return {judge.bare(answer, judge.params).ok for _ in range(5)}

    found = at_once([lambda answer=answer: many(answer) for answer in answers])  # type: ignore[misc]
    wanted = [{answer is good} for answer in answers]
    must(found == wanted, f"{judge.check.name}, used at once by several, mixes up their answers")


def _answer(given: str | Answer) -> Answer:
    if isinstance(given, Answer):
        return given
    tokens = len(given.split())
    return Answer(given, "stop", prompt_tokens=8, tokens=tokens, eval_seconds=0.1,
                  load_seconds=0.0, wall_seconds=0.2)  # fmt: skip


def _short(answer: Answer) -> str:
    return repr(answer.text if len(answer.text) <= 40 else f"{answer.text[:40]}...")
