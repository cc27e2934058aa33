"""Suites: what is understood, and every mistake named with its place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.errors import PluginError, SuiteError
from deployq.proof.checks import BUILTIN_CHECKS
from deployq.proof.suites import DEFAULT_OPTIONS, Suite, load_suite, smoke_suite
from deployq.types import Answer, CheckType, Json, Message, Prompt, Verdict

CHECKS = {check.name: check for check in BUILTIN_CHECKS}
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "task-api"

FULL = """
name = "task-api"
threshold = 0.9
options = { num_predict = 128, temperature = 0.5 }
system = "Answer in JSON."
think = false
check.stops = true

[[prompts]]
name = "create-review"
user = "Create a task: review the report"
options = { seed = 7, stop = ["\\n"] }
format = "json"
check.json_equals = { action = "create_task" }
check.contains = ["a", "b"]

[[prompts]]
messages = [
  { role = "user", content = "Hi" },
  { role = "assistant", content = "{}" },
  { role = "user", content = "List" },
]
system = "Be brief."
think = "high"
format = { type = "object" }
check.stops = false
check.not_empty = true
"""


def written(folder: Path, text: str | bytes, name: str = "suite.toml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def load(folder: Path, text: str | bytes, name: str = "suite.toml") -> Suite:
    return load_suite(written(folder, text, name), CHECKS)


def refused(folder: Path, text: str | bytes, name: str = "suite.toml") -> SuiteError:
    with pytest.raises(SuiteError) as caught:
        load(folder, text, name)
    assert name in caught.value.message
    return caught.value


def test_a_full_suite_is_understood(tmp_path: Path) -> None:
    suite = load(tmp_path, FULL)
    assert (suite.name, suite.threshold) == ("task-api", 0.9)
    assert suite.prompts == (
        Prompt(
            "create-review",
            (
                Message("system", "Answer in JSON."),
                Message("user", "Create a task: review the report"),
            ),
            {"temperature": 0.5, "seed": 7, "num_predict": 128, "stop": ["\n"]},
            {"stops": True, "json_equals": {"action": "create_task"}, "contains": ["a", "b"]},
            "json",
            False,
        ),
        Prompt(
            "prompt-2",
            (
                Message("system", "Be brief."),
                Message("user", "Hi"),
                Message("assistant", "{}"),
                Message("user", "List"),
            ),
            {"temperature": 0.5, "seed": 42, "num_predict": 128},
            {"not_empty": True},
            {"type": "object"},
            "high",
        ),
    )


def test_defaults(tmp_path: Path) -> None:
    suite = load(tmp_path, '[[prompts]]\nuser = "Hi"', "my-suite.toml")
    assert (suite.name, suite.threshold) == ("my-suite", 1.0)
    (prompt,) = suite.prompts
    assert prompt.options == {"temperature": 0, "seed": 42, "num_predict": 512}
    assert prompt.checks == {"not_empty": True, "stops": True}
    assert (prompt.name, prompt.format, prompt.think) == ("prompt-1", None, False)


def test_the_conversations_own_system_message_stays(tmp_path: Path) -> None:
    text = """
    system = "Suite"
    [[prompts]]
    messages = [{ role = "system", content = "Own" }, { role = "user", content = "Hi" }]
    """
    assert load(tmp_path, text).prompts[0].messages[0] == Message("system", "Own")
    assert len(load(tmp_path, text).prompts[0].messages) == 2


def test_jsonl_and_toml_say_the_same(tmp_path: Path) -> None:
    prompt = {"name": "a", "user": "Hi", "check": {"json_equals": {"a": [1, 2.5]}, "stops": True}}
    toml = load(tmp_path, tomli_w.dumps({"prompts": [prompt]}), "suite.toml")
    jsonl = load(tmp_path, json.dumps(prompt) + "\n\n", "suite.jsonl")
    assert toml == jsonl


def test_jsonl_may_hold_null_line_separators_and_a_bom(tmp_path: Path) -> None:
    line = '{"user": "a\u2028b", "check": {"json_equals": {"due": null}}}'
    suite = load(tmp_path, b"\xef\xbb\xbf" + line.encode() + b"\r\n", "suite.jsonl")
    assert suite.prompts[0].messages == (Message("user", "a\u2028b"),)
    assert suite.prompts[0].checks == {"json_equals": {"due": None}}


def test_the_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    digest = load(tmp_path, FULL).digest
    assert re.fullmatch("[0-9a-f]{64}", digest)
    respelled = FULL.replace("threshold = 0.9", "# a comment\nthreshold=0.90")
    assert load(tmp_path, respelled).digest == digest
    for old, new in (("0.9", "0.8"), ("Hi", "Ho"), ('"b"', '"c"'), ("128", "64"), ('"json"', "{}")):
        assert load(tmp_path, FULL.replace(old, new, 1)).digest != digest


def test_the_smoke_suite_asks_whether_it_answers_and_stops() -> None:
    suite = smoke_suite()
    (prompt,) = suite.prompts
    assert prompt.checks == {"not_empty": True, "stops": True}
    assert prompt.options == DEFAULT_OPTIONS
    assert suite.digest == smoke_suite().digest


@pytest.mark.parametrize(("name", "n_prompts"), [("suite.toml", 24), ("suite-full.jsonl", 300)])
def test_the_samples_suites_load(name: str, n_prompts: int) -> None:
    suite = load_suite(EXAMPLES / name, CHECKS)
    assert len(suite.prompts) == n_prompts
    assert all("json_equals" in prompt.checks for prompt in suite.prompts)


PROMPT = '[[prompts]]\nname = "a"\nuser = "Hi"\n'
MISTAKES = [
    ("[[prompts]]\nname = \nuser = 5", "is not valid TOML: .*line 2"),
    (f"nmae = 'x'\n{PROMPT}", "unknown key 'nmae'; did you mean name?"),
    (f"{PROMPT}chekc.stops = true", "prompt 'a': unknown key 'chekc'; did you mean check?"),
    (f"{PROMPT}threshold = 1", "prompt 'a': unknown key 'threshold'"),
    (f"user = 'x'\n{PROMPT}", "unknown key 'user'"),
    (f"{PROMPT}check.contain = 'x'", "prompt 'a': unknown check 'contain'; did you mean contains?"),
    (f"check.stop = true\n{PROMPT}", "suite.toml: unknown check 'stop'; did you mean stops?"),
    (f"{PROMPT}check.contains = 5", "'a': check.contains: 5 is not of type 'string', 'array'"),
    (f"{PROMPT}check.contains = ['x', 5]", "check.contains: .*5 is not of type 'string'"),
    (f"{PROMPT}check.contains = ''", "check.contains: '' should be non-empty"),
    (f"{PROMPT}check.stops = 'yes'", "check.stops: 'yes' is not of type 'boolean'"),
    (f"{PROMPT}check.max_tokens = 0", "check.max_tokens: 0 is less than the minimum of 1"),
    (f"{PROMPT}check.regex = '(un'", r"check.regex: .*is no regular expression: missing \)"),
    (f"{PROMPT}check.json_schema = {{ type = 'strin' }}", "check.json_schema: it is no JSON sch"),
    (f"{PROMPT}check = 5", "prompt 'a': check: 5 is not of type 'object'"),
    (f"{PROMPT}options = {{ num_predcit = 5 }}", "unknown option 'num_predcit'.*num_predict"),
    (f"{PROMPT}options = {{ num_predict = 0 }}", "'a': options.num_predict is 0, which means wit"),
    (f"options = {{ num_predict = -1 }}\n{PROMPT}", "suite.toml: options.num_predict is -1"),
    (f"{PROMPT}options = {{ seed = 'x' }}", "options.seed: 'x' is not of type 'integer'"),
    (f"{PROMPT}options = {{ stop = 'x' }}", "options.stop: 'x' is not of type 'array'"),
    (f"{PROMPT}format = 'yaml'", "format: "),
    (f"{PROMPT}think = 5", "think: 5 is not of type"),
    (f"{PROMPT}messages = []", r"messages: \[\] should be non-empty"),
    (f"{PROMPT}messages = [{{ role = 'user', content = 'x' }}]", "one of the two"),
    ("[[prompts]]\nname = 'a'", "prompt 'a' needs a user text or messages"),
    ("[[prompts]]\nuser = ''", "prompt 'prompt-1': user: '' should be non-empty"),
    ("[[prompts]]\nmessages = [{ role = 'me', content = 'x' }]", "'me' is not one of"),
    ("[[prompts]]\nmessages = [{ role = 'user' }]", "'content' is a required property"),
    (PROMPT + PROMPT, "two prompts are called 'a'"),
    (PROMPT + "[[prompts]]\nname = 5\nuser = 'x'", "prompt 5: name: 5 is not of type 'string'"),
    ("", "has no prompts"),
    ("prompts = []", "has no prompts"),
    ("prompts = 'suite.jsonl'", "prompts: 'suite.jsonl' is not of type 'array'"),
    ("prompts = ['Hi']", r"prompts: \$\[0\]: 'Hi' is not of type 'object'"),
    (f"threshold = 1.5\n{PROMPT}", "threshold: 1.5 is greater than the maximum of 1"),
    (f"threshold = -0.1\n{PROMPT}", "threshold: -0.1 is less than the minimum of 0"),
    (f"threshold = true\n{PROMPT}", "threshold: True is not of type 'number'"),
    (f"threshold = nan\n{PROMPT}", "threshold is nan, which JSON does not have"),
    (
        f"{PROMPT}check.json_equals = {{ due = 2026-11-25 }}",
        r"prompts\[0\].check.json_equals.due is a TOML date \(2026-11-25\); write it in quotes",
    ),
    ("a = " + "[" * 5000, "is not valid TOML"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES, ids=[m for _, m in MISTAKES])
def test_mistakes_in_toml(tmp_path: Path, text: str, message: str) -> None:
    assert re.search(message, refused(tmp_path, text).message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"user": "a"}\n{"user": ', "suite.jsonl, line 2 is not valid JSON"),
        ('{"user": "a"}\n\n["a"]', "suite.jsonl, line 3 is no JSON object"),
        ('{"user": "a", "user": "b"}', "line 1 is not valid JSON: the key 'user' stands there twi"),
        ('{"name": "x", "usr": "a"}', "line 1: prompt 'x': unknown key 'usr'; did you mean user?"),
        ('{"user": "\\ud800"}', "line 1: user is a text that is not valid Unicode"),
        ('{"user": "a", "options": {"seed": 1e999}}', "line 1: options.seed is inf, which JSON"),
        ('{"user": null}', "line 1: user: None is not of type 'string'"),
        ("[" * 100_000, "line 1 is not valid JSON"),
        (" \n", "has no prompts"),
    ],
)
def test_mistakes_in_jsonl(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path, text, "suite.jsonl").message


def test_files_that_are_no_suites(tmp_path: Path) -> None:
    assert "should end in .toml or .jsonl" in refused(tmp_path, "", "suite.yaml").message
    assert "is not UTF-8" in refused(tmp_path, b"\xff\xfe").message
    (tmp_path / "folder.toml").mkdir()
    for name, why in (("gone.toml", "No such file"), ("folder.toml", "Is a directory")):
        with pytest.raises(SuiteError, match=f"cannot read the suite .*{name}: {why}"):
            load_suite(tmp_path / name, CHECKS)


def test_an_unknown_check_hints_at_plugins(tmp_path: Path) -> None:
    assert "deployq plugins" in refused(tmp_path, f"{PROMPT}check.xyzzy = 1").hint


# ---------------------------------------------------------------- checks of plugins


@dataclass
class Rhymes:
    """A plain object as a plugin brings it: no `validate`."""

    name: str = "rhymes"
    schema: Mapping[str, Json] = field(default_factory=lambda: {"type": "string"})

    def check(self, answer: Answer, prompt: Prompt, params: Json) -> Verdict:  # noqa: ARG002
        return Verdict(self.name, answer.text.endswith(str(params)))


def test_a_plugins_check_is_known_and_its_parameters_are_checked(tmp_path: Path) -> None:
    checks: dict[str, CheckType] = {**CHECKS, "rhymes": Rhymes()}
    good = load_suite(written(tmp_path, f"{PROMPT}check.rhymes = 'ay'"), checks)
    assert good.prompts[0].checks == {"rhymes": "ay"}
    with pytest.raises(SuiteError, match=r"check\.rhymes: 5 is not of type 'string'"):
        load_suite(written(tmp_path, f"{PROMPT}check.rhymes = 5"), checks)


def test_a_plugins_broken_schema_is_the_plugins_fault(tmp_path: Path) -> None:
    checks: dict[str, CheckType] = {"rhymes": Rhymes(schema={"type": "strin"})}
    with pytest.raises(PluginError, match="the check 'rhymes' is broken"):
        load_suite(written(tmp_path, f"{PROMPT}check.rhymes = 'ay'"), checks)


def test_a_suite_without_a_mistake_is_remembered_by_what_it_holds(tmp_path: Path) -> None:
    known, suite = tmp_path / "known", written(tmp_path, f"{PROMPT}check.contains = 'x'")
    first = load_suite(suite, CHECKS, known)
    assert len(list(known.iterdir())) == 1
    assert load_suite(suite, CHECKS, known) == first
    broken = written(tmp_path, f"{PROMPT}check.contains = 5")
    for _ in range(2):
        with pytest.raises(SuiteError, match="5 is not of type"):
            load_suite(broken, CHECKS, known)
    checks: dict[str, CheckType] = {**CHECKS, "rhymes": Rhymes(schema={"type": "strin"})}
    with pytest.raises(PluginError, match="the check 'rhymes' is broken"):
        load_suite(written(tmp_path, f"{PROMPT}check.rhymes = 'ay'"), checks, known)
    assert len(list(known.iterdir())) == 1


def test_what_a_plugin_finds_wrong_is_asked_for_again(tmp_path: Path) -> None:
    class Fussy(Rhymes):
        mistake = ""

        def validate(self, params: Json) -> str:  # noqa: ARG002
            return self.mistake

    checks: dict[str, CheckType] = {**CHECKS, "rhymes": Fussy()}
    suite = written(tmp_path, f"{PROMPT}check.rhymes = 'ay'")
    load_suite(suite, checks, tmp_path / "known")
    Fussy.mistake = "its file is gone"
    with pytest.raises(SuiteError, match="its file is gone"):
        load_suite(suite, checks, tmp_path / "known")


# ---------------------------------------------------------------- by property

Texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
Leaves = st.booleans() | st.integers(-(2**40), 2**40) | st.floats(-1e6, 1e6) | Texts
JsonValues = st.recursive(
    Leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(Texts, inner, max_size=3),
    max_leaves=6,
)
Prompts = st.fixed_dictionaries(
    {"user": Texts},
    optional={
        "system": Texts,
        "options": st.fixed_dictionaries({}, optional={"seed": st.integers(0, 9)}),
        "check": st.fixed_dictionaries(
            {},
            optional={
                "equals": Texts,
                "contains": st.lists(Texts, min_size=1, max_size=3),
                "json_equals": st.dictionaries(Texts, JsonValues, max_size=3),
                "max_tokens": st.integers(1, 99),
            },
        ),
    },
)


@given(st.lists(Prompts, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_both_formats_keep_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, prompts: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("suites")
    lines = "\n".join(json.dumps(prompt) for prompt in prompts)
    jsonl = load(folder, lines, "suite.jsonl")
    toml = load(folder, tomli_w.dumps({"prompts": prompts}), "suite.toml")
    # TOML spells an U+000D in a text as an escape, so both formats carry every character.
    assert toml == jsonl
    for given_prompt, prompt in zip(prompts, jsonl.prompts, strict=True):
        assert prompt.messages[-1] == Message("user", given_prompt["user"])
        assert prompt.checks == given_prompt.get("check", {"not_empty": True, "stops": True})


@given(st.text() | st.binary(), st.sampled_from(["suite.toml", "suite.jsonl"]))
@settings(max_examples=80, deadline=None)
def test_any_file_is_a_suite_or_a_suite_error(
    tmp_path_factory: pytest.TempPathFactory, content: str | bytes, name: str
) -> None:
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    with pytest.raises(SuiteError, match=name):
        load(tmp_path_factory.mktemp("suites"), raw, name)


@given(st.dictionaries(st.sampled_from(["user", "name", "messages", "options", "check", "format",
                                        "think", "system"]), JsonValues | st.none()))  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_any_table_is_a_prompt_or_a_suite_error(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, Any]
) -> None:
    path = written(tmp_path_factory.mktemp("suites"), json.dumps(table), "suite.jsonl")
    try:
        suite = load_suite(path, CHECKS)
    except SuiteError as exc:
        mistake = exc.message
    else:
        mistake = "" if suite.prompts[0].messages else "no message"
    assert not mistake or "line 1" in mistake


def test_the_documented_suites_load_and_name_every_check(tmp_path: Path) -> None:
    docs = (EXAMPLES.parents[1] / "docs" / "suites.md").read_text(encoding="utf-8")
    line = {"id": 7, "question": "Why?", "answer": {"short": "So.", "json": {"a": 1}}}
    (tmp_path / "questions.jsonl").write_text(json.dumps(line))
    blocks = re.findall(r"```(toml|json)\n(.*?)```", docs, re.DOTALL)
    names = {"toml": "suite.toml", "json": "suite.jsonl"}
    loaded = [load(tmp_path, text, names[kind]) for kind, text in blocks]
    assert [len(suite.prompts) for suite in loaded[:2]] == [2, 1]
    assert all(suite.prompts for suite in loaded)
    assert all(f"`{name}`" in docs for name in CHECKS)
