"""The python check: a user's function in a process of its own, only where it is trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployq.errors import SuiteError
from deployq.proof.own_checks import PythonCheck
from deployq.proof.schemas import schema_fault
from deployq.proof.suites import load_suite
from deployq.types import Verdict
from tests.proof.test_checks import PROMPT, answer

CODE = """
import os

def polite(answer, prompt):
    print("talk on stdout does no harm")
    return "" if "please" in answer else f"no please after {prompt['messages'][0]['content']!r}"

def short(answer, prompt):
    return len(answer) < 10

def nothing(answer, prompt):
    return None

def raises(answer, prompt):
    raise RuntimeError("broken on purpose")

def number(answer, prompt):
    return 3

def leaves(answer, prompt):
    os._exit(0)
"""


@pytest.fixture
def check(tmp_path: Path) -> PythonCheck:
    (tmp_path / "mine.py").write_text(CODE)
    return PythonCheck(tmp_path, [tmp_path / "mine.py"])


def params(function: str, file: str = "mine.py") -> Any:
    return {"file": file, "function": function}


def test_a_function_says_what_is_wrong(check: PythonCheck) -> None:
    said = check.check(answer("Do it"), PROMPT, params("polite"))
    assert said == Verdict("python", False, "no please after 'hi'")
    assert check.check(answer("please do"), PROMPT, params("polite")) == Verdict("python", True)
    assert check.check(answer("x"), PROMPT, params("short")).ok
    assert check.check(answer("x" * 20), PROMPT, params("short")).reason == "short says no"


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("raises", "failed: RuntimeError: broken on purpose (line 15)"),
        ("number", "it returned 3: only True, False or a text is a verdict"),
        ("nothing", "it returned nothing: only True, False or a text is a verdict"),
        ("leaves", "ended its process by itself"),
        ("absent", "absent"),
    ],
)
def test_a_function_that_fails_is_named(check: PythonCheck, function: str, why: str) -> None:
    with pytest.raises(ChildProcessError, match=f"{function} of .*mine.py") as caught:
        check.check(answer("x"), PROMPT, params(function))
    assert why in str(caught.value)


def test_code_that_nobody_trusts_is_refused_before_anything_runs(
    check: PythonCheck, tmp_path: Path
) -> None:
    (tmp_path / "other.py").write_text("raise SystemExit('it ran')\n")
    suite = tmp_path / "suite.toml"
    suite.write_text(
        '[[prompts]]\nuser = "x"\ncheck.python = { file = "other.py", function = "f" }\n'
    )
    with pytest.raises(SuiteError, match="is not trusted") as caught:
        load_suite(suite, {"python": check})
    assert 'trust = ["other.py"]' in caught.value.message
    assert check.validate(params("polite")) == ""
    (tmp_path / "mine.py").unlink()
    assert "no such file" in check.validate(params("polite"))


def test_a_function_needs_a_name_and_no_code() -> None:
    schema = PythonCheck(Path(), []).schema
    assert schema_fault(schema, {"file": "x.py", "function": "f"}) == ""
    assert schema_fault(schema, {"file": "x.py", "function": "f(); g"})
    assert schema_fault(schema, {"file": "x.py"})
