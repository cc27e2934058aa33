"""Patterns of a suite that take for ever, or all memory, or go round in circles."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from deployq.proof.bounded import CheckChild
from tests.proof.test_checks import answer

AS = "a" * 40 + "b"


@pytest.fixture
def child() -> Iterator[CheckChild]:
    child = CheckChild(seconds=1.0)
    yield child
    child.end()


@pytest.mark.parametrize(
    ("check", "params", "text"),
    [
        ("regex", r"(a+)+$", AS),
        ("regex", r"(.+)+\u0001", AS),
        ("json_schema", {"type": "string", "pattern": "^(a+)+$"}, json.dumps(AS)),
        ("json_schema", {"patternProperties": {"^(a+)+$": {}}}, json.dumps({AS: 1})),
        (
            "json_schema",
            {"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False},
            json.dumps({AS: 1}),
        ),
        ("json_path", {"$[?search(@, '(a+)+$')]": 1}, json.dumps([AS])),
        ("json_path", {"$" + "..*" * 12: 1}, "[" * 30 + "]" * 30),
    ],
)
def test_a_pattern_that_takes_for_ever_is_ended(
    child: CheckChild, check: str, params: Any, text: str
) -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="longer than 1 s"):
        child.fault(check, answer(text), params)
    assert time.monotonic() - started < 60
    assert child.fault("regex", answer("ok"), "^ok$") == ""


@pytest.mark.parametrize(
    ("check", "params", "text"),
    [
        ("json_schema", {"$ref": "#"}, "1"),
        ("json_schema", {"$ref": "#/$defs/a", "$defs": {"a": {"not": {"$ref": "#"}}}}, "1"),
        ("json_path", {"$..a": 1}, "[" * 900 + "]" * 900),
    ],
)
def test_what_goes_round_in_circles_is_said(
    child: CheckChild, check: str, params: Any, text: str
) -> None:
    with pytest.raises(ChildProcessError, match="it goes too deep"):
        child.fault(check, answer(text), params)
    assert child.fault("regex", answer("ok"), "^no$") == 'nothing in it matches "^no$"'


def test_a_child_that_was_killed_is_started_again(child: CheckChild) -> None:
    assert child.fault("regex", answer("ok"), "ok") == ""
    assert child._child is not None
    child._child.kill()
    child._child.wait()
    assert child.fault("regex", answer("ok"), "ok") == ""


def test_an_answer_as_long_as_can_be(child: CheckChild) -> None:
    assert child.fault("regex", answer("é" * 2_000_000 + "!"), "!$") == ""
