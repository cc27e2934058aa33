"""The conformance check of checks finds each fault, and passes what is good: deployq's own, too."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deployq import Answer, CheckType, PluginError, Prompt, Verdict
from deployq.proof.answers_checks import ANSWER_CHECKS
from deployq.proof.checks import BUILTIN_CHECKS
from deployq.proof.own_checks import PythonCheck
from deployq.testing import check_checktype


def shouts(check: Shout, answer: Answer, params: Any) -> Any:  # noqa: ARG001
    ok = answer.text.isupper()
    return Verdict(check.name, ok, "" if ok else "it does not shout")


@dataclass
class Shout:
    """A check that does whatever a test wants."""

    judge: Callable[[Shout, Answer, Any], Any] = shouts
    name: Any = "shout"
    schema: Any = field(default_factory=lambda: {"type": ["boolean", "array"]})
    last: Any = None

    def check(self, answer: Answer, prompt: Prompt, params: Any) -> Verdict:  # noqa: ARG002
        return self.judge(self, answer, params)  # type: ignore[no-any-return]


def held(check: Any, params: Any = True, **more: Any) -> None:
    check_checktype(check, params, **{"passes": "YES", "fails": "no", **more})


def test_a_good_one_passes() -> None:
    held(Shout())


def raises(check: Shout, answer: Answer, params: Any) -> Any:
    if not answer.text:
        raise IndexError("no first letter")
    return shouts(check, answer, params)


def complains(check: Shout, answer: Answer, params: Any) -> Any:
    if answer.thinking:
        raise PluginError("it thinks")
    return shouts(check, answer, params)


def changes(check: Shout, answer: Answer, params: Any) -> Any:
    params.append(1)
    return shouts(check, answer, params)


def flips(check: Shout, answer: Answer, params: Any) -> Any:  # noqa: ARG001
    check.last = not check.last
    return Verdict(check.name, answer.text.isupper(), f"reason {check.last}")


def remembers(check: Shout, answer: Answer, params: Any) -> Any:  # noqa: ARG001
    check.last = answer
    time.sleep(0.001)  # another thread's turn
    ok = check.last.text.isupper()
    return Verdict(check.name, ok, "" if ok else "it does not shout")


def says(check: Shout, answer: Answer, params: Any) -> Any:
    sys.stdout.write("well")
    return shouts(check, answer, params)


def meddles(check: Shout, answer: Answer, params: Any) -> Any:
    os.environ["SHOUT"] = "yes"
    return shouts(check, answer, params)


def gives(make: Callable[[Shout, Answer], Any]) -> Shout:
    return Shout(lambda check, answer, params: make(check, answer))  # noqa: ARG005


FAULTS: dict[str, tuple[Any, str]] = {
    "nothing of a check": (object(), "lacks a part"),
    "no name": (Shout(name=""), "its name is ''"),
    "a name with capitals": (Shout(name="Shout It"), "its name is 'Shout It'"),
    "no schema": (Shout(schema=None), "its schema is a NoneType"),
    "a wrong schema": (Shout(schema={"type": "flag"}), "is no JSON schema"),
    "another schema": (Shout(schema={"type": "string"}), "does not match its schema"),
    "passes nothing": (gives(lambda c, _: Verdict(c.name, False, "no")), "fails the answer"),
    "passes everything": (gives(lambda c, _: Verdict(c.name, True)), "passes the answer that"),
    "no reason": (gives(lambda c, a: Verdict(c.name, a.text.isupper())), "gives no reason"),
    "no verdict": (gives(lambda _, a: a.text.isupper()), "gives a bool, no deployq.Verdict"),
    "a text as ok": (gives(lambda c, _: Verdict(c.name, "yes")), "neither True nor False"),  # type: ignore[arg-type]
    "a reason that is none": (
        gives(lambda c, _: Verdict(c.name, True, None)),  # type: ignore[arg-type]
        "no text",
    ),
    "another's verdict": (gives(lambda _, a: Verdict("x", a.text.isupper(), "n")), "that of 'x'"),
    "moody": (Shout(flips), "in another way next time"),
    "raises": (Shout(raises), "raises IndexError"),
    "raises one of deployq's": (Shout(complains), "raises PluginError: it thinks"),
    "prints": (Shout(says), "prints: 'well"),
    "mixes up": (Shout(remembers), "mixes up"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str) -> None:
    check, message = FAULTS[fault]
    with pytest.raises(AssertionError, match=message):
        held(check)


def test_it_changes_its_parameters() -> None:
    with pytest.raises(AssertionError, match="changes its parameters"):
        held(Shout(changes), params=[])


def test_it_changes_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOUT", raising=False)
    with pytest.raises(AssertionError, match="changes folder or environment"):
        held(Shout(meddles))


def test_it_takes_too_long() -> None:
    stop = threading.Event()
    try:
        with pytest.raises(AssertionError, match=r"does not end within 0\.2 s"):
            held(gives(lambda *_: stop.wait(30)), seconds=0.2)
    finally:
        stop.set()


def test_it_refuses_good_parameters() -> None:
    class Strict(Shout):
        def validate(self, params: Any) -> str:
            return f"{params} is never right"

    with pytest.raises(AssertionError, match=r"validate\(\) says of good parameters"):
        held(Strict())


# ---------------------------------------------------------------- deployq's own

CALL = '{"name": "weather", "arguments": {"city": "Rome"}}'
SLOW = Answer("x", "stop", 8, 1, 0.1, 0.0, wall_seconds=9.0)
CUT = Answer("half a", "length", 8, 2, 0.1, 0.0, 0.2)
OWN: Mapping[str, tuple[Any, str | Answer, str | Answer]] = {
    "equals": ("yes", "yes", "no"),
    "contains": (["a", "b"], "ab", "a"),
    "not_contains": ("sorry", "here", "sorry"),
    "regex": ("^[0-9]+$", "42", "many"),
    "json": (True, "{}", "{"),
    "json_schema": ({"type": "object"}, "{}", "[]"),
    "json_equals": ({"a": 1}, '{"a": 1.0}', '{"a": 2}'),
    "max_tokens": (2, "one two", "one two three"),
    "stops": (True, "done", CUT),
    "max_seconds": (5, "quick", SLOW),
    "not_empty": (True, "x", " "),
    "similar": ("a long sentence", "a long sentenc", "something else altogether"),
    "json_path": ({"$.a": 1}, '{"a": 1}', '{"b": 1}'),
    "tool_call": ({"name": "weather", "arguments": {"city": "Rome"}}, CALL, "it is warm"),
    "needle": ({"fact": "it is 7", "answer": "7", "words": 99}, "it is 7", "I don't know"),
}


@pytest.mark.parametrize("check", [*BUILTIN_CHECKS, *ANSWER_CHECKS], ids=lambda check: check.name)
def test_deployqs_own_keep_it(check: CheckType) -> None:
    params, passes, fails = OWN[check.name]
    check_checktype(check, params, passes=passes, fails=fails)


def test_a_function_of_the_users_keeps_it(tmp_path: Path) -> None:
    file = tmp_path / "checks.py"
    file.write_text("def loud(answer, prompt):\n    return '' if answer.isupper() else 'quiet'\n")
    check = PythonCheck(tmp_path, [file])
    params = {"file": "checks.py", "function": "loud"}
    check_checktype(check, params, passes="YES", fails="no", seconds=60)
