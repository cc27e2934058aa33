"""Every code block: it runs, or it is at least what it says it is.

The languages are those of LANGUAGES. Commands of deployq are held against the real command line;
those that cost nothing are run in a project with the sample model. Pages whose commands are run in
their order stand in test_pages.py.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from deployq.cli.main import cli
from deployq.config import parse_config
from deployq.proof.answers_checks import ANSWER_CHECKS
from deployq.proof.checks import BUILTIN_CHECKS
from deployq.proof.own_checks import PythonCheck
from deployq.proof.suites import load_suite
from deployq.types import CheckType
from tests.cli.conftest import Project
from tests.docs.markdown import PAGES, ROOT, Block, Command, blocks, commands

LANGUAGES = {
    "",
    "console",
    "toml",
    "python",
    "json",
    "jsonl",
    "yaml",
    "text",
    "nginx",
    "jinja",
    "sh",
}
CHEAP = {"plan", "inspect", "profile", "guide", "config", "doctor", "plugins", "completion"}
SLOW = {"--measure", "--with", "--chart"}
ALL = [block for page in PAGES for block in blocks(page)]
# Pages of packages that bring what their blocks use: tests/test_example_plugins.py installs those.
EXAMPLES = ROOT / "examples" / "plugins"


def of(*languages: str) -> list[Block]:
    return [block for block in ALL if block.language in languages]


def named(items: list[Block]) -> list[object]:
    return [pytest.param(block, id=block.name) for block in items]


def deployq_commands(block: Block) -> list[Command]:
    found = [c for c in commands(block) if re.match(r"deployq\b", c.text)]
    return [c for c in found if not re.search(r"\$\(|[|<>]", c.text)]


CALLS = [
    command
    for block in of("console", "")
    if not block.page.is_relative_to(EXAMPLES)
    for command in deployq_commands(block)
]


def test_there_is_something_to_test() -> None:
    assert len(CALLS) > 100
    assert {block.language for block in ALL} >= {"console", "toml", "python", "json"}


@pytest.mark.parametrize("block", named(ALL))
def test_its_language_is_known(block: Block) -> None:
    assert block.language in LANGUAGES
    assert block.text.strip()


def parsed(
    command: click.Command, name: str, words: list[str], parent: click.Context | None = None
) -> str:
    """The name of the command that the words call; they are checked, nothing is called."""
    ctx = command.make_context(name, list(words), parent)
    if not isinstance(command, click.Group) or (command.invoke_without_command and not words):
        return name
    below, found, rest = command.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
    assert found is not None
    return parsed(found, str(below), rest, ctx)


@pytest.mark.parametrize("command", [pytest.param(c, id=f"{c.block.name} {c.text}") for c in CALLS])
def test_it_is_a_command_that_deployq_has(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task-api.baseline.gz").touch()  # files that an option wants to be there
    (tmp_path / "model").mkdir()
    parsed(cli, "deployq", command.words[1:])


def test_a_wrong_command_is_found() -> None:
    with pytest.raises(click.UsageError):
        parsed(cli, "deployq", ["push", "task-api", "--target", "laptop"])


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The sample's configuration, its model, and copies under the names that the pages use."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copy(ROOT / "deployq.toml", folder)
    shutil.copytree(
        ROOT / "examples" / "task-api", folder / "examples" / "task-api",
        ignore=shutil.ignore_patterns("model"),
    )  # fmt: skip
    for name in ("model-f16.gguf", "model.gguf", "chat.gguf", "coder.gguf", "task-api-f16.gguf"):
        shutil.copy(folder / "examples" / "task-api" / "task-api-f16.gguf", folder / name)
    (folder / "our_checks.py").touch()
    return Project(folder)


def is_cheap(command: Command) -> bool:
    words = command.words
    if len(words) < 2 or words[1] not in CHEAP or (SLOW | {"new"}) & set(words):
        return False
    return not re.search(r"hf:|ollama:|[A-Z]{4,}|outputs/|\.\.\.|imatrix|judge", command.text)


@pytest.mark.parametrize(
    "command",
    [pytest.param(c, id=c.text) for c in {c.text: c for c in CALLS if is_cheap(c)}.values()],
)
def test_a_command_that_costs_nothing_runs(sample: Project, command: Command) -> None:
    ran = sample.run(*command.words[1:], COLUMNS="100")
    missing = command.words[1] == "doctor"  # on a machine without tools it says 1, and why
    assert ran.code in ((0, 1) if missing else (0, 3)), ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "block", named([b for b in of("toml") if not b.page.is_relative_to(EXAMPLES)])
)
def test_toml_is_a_configuration_or_a_suite(block: Block, tmp_path: Path) -> None:
    document = tomllib.loads(block.text)
    if {"prompts", "datasets", "threshold"} & set(document):
        (tmp_path / "suite.toml").write_text(block.text, encoding="utf-8")
        (tmp_path / "questions.jsonl").write_text(QUESTION, encoding="utf-8")
        (tmp_path / "checks.py").touch()
        own = (*BUILTIN_CHECKS, *ANSWER_CHECKS, PythonCheck(tmp_path, [tmp_path / "checks.py"]))
        checks: dict[str, CheckType] = {check.name: check for check in own}
        assert load_suite(tmp_path / "suite.toml", checks).prompts
    elif {"project", "build-system"} & set(document):
        assert all(isinstance(table, dict) for table in document.values())
    else:
        parse_config(block.text, tmp_path)


QUESTION = '{"id": 1, "question": "Why?", "answer": {"short": "So.", "json": {"a": 1}}}\n'


@pytest.mark.parametrize("block", named(of("json", "jsonl")))
def test_json_is_json(block: Block) -> None:
    for text in block.text.splitlines() if block.language == "jsonl" else [block.text]:
        json.loads(text)


@pytest.mark.parametrize("block", named(of("python")))
def test_python_runs(block: Block, tmp_path: Path) -> None:
    """As a module of its own; names that the page's own text introduces are given."""
    ast.parse(block.text)
    if block.not_run or block.page.parent.name == "plugins":  # tests/test_plugin_docs.py runs those
        return
    (tmp_path / "block.py").write_text(block.text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "block.py"],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", named([b for b in ALL if b.not_run]))
def test_a_reason_is_a_reason(block: Block) -> None:
    assert len(block.not_run.split()) >= 4


WORKFLOWS = sorted((ROOT / "docs" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_s_commands_are_deployq_s(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (job,) = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].values()
    called = [
        parsed(cli, "deployq", shlex.split(step["run"].partition(">>")[0])[1:])
        for step in job["steps"]
        if step.get("run", "").startswith("deployq ")
    ]
    assert called[0] == "install"
    assert called[1] in ("push", "quality")
