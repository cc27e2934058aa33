"""How little a command imports: what isn't imported takes no time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import write_tiny_llama

PROGRAM = """
import sys
from deployq.cli.main import run
code, modules = run(sys.argv[1:]), sorted(sys.modules)
import json
print(json.dumps([code, modules]), file=sys.stderr)
"""


def imported(folder: Path, *arguments: str) -> set[str]:
    """The modules that a command has imported when it ends well."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"HOME": str(folder)},
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stderr
    return set(modules)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_imports_next_to_nothing(tmp_path: Path, option: str) -> None:
    modules = imported(tmp_path, option)
    assert not modules & {"pluggy", "rich", "importlib.metadata", "deployq.types", "json"}
    own = {name for name in modules if name.startswith("deployq")}
    assert own == {
        "deployq", "deployq.cli", "deployq.cli.main", "deployq.cli.complain",
        "deployq.cli.signals", "deployq.cli.streams", "deployq.entrypoints", "deployq.errors",
    }  # fmt: skip


def test_a_command_that_needs_no_plugin_imports_nothing_of_plugins(tmp_path: Path) -> None:
    for command in ("config", "cache"):
        modules = imported(tmp_path, command, "--json")
        assert not modules & {"pluggy", "importlib.metadata", "deployq.plugins.loading"}
        assert not {name for name in modules if name.startswith("deployq_")}


def test_a_plan_as_json_imports_no_more_than_it_uses(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path / "tiny-f16.gguf")
    modules = imported(tmp_path, "plan", "tiny-f16.gguf", "--targets", "laptop,4090", "--json")
    for unused in (
        "rich", "ssl", "http.client", "httpx", "requests", "ollama", "pynvml", "numpy",
        "deployq.source.hf", "deployq.toolbuild", "deployq.artifacts.workshop",
        "deployq.report.plan_view", "deployq.report.progress_bars", "deployq_converters",
    ):  # fmt: skip
        assert unused not in modules


def test_a_plan_as_a_table_is_drawn_without_rich_s_console(tmp_path: Path) -> None:
    write_tiny_llama(tmp_path / "tiny-f16.gguf")
    modules = imported(tmp_path, "plan", "tiny-f16.gguf", "--targets", "laptop,4090")
    assert "deployq.report.plan_view" in modules
    assert not modules & {"rich.console", "rich.table", "rich.text", "rich.style", "rich.progress"}


def test_a_plugin_loads_only_what_it_names(tmp_path: Path) -> None:
    program = (
        "import sys; from deployq import Backend, hookimpl\n"
        "print(sorted(name for name in sys.modules if name.startswith('deployq.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(
        ["deployq.hookspecs", "deployq.types", "deployq.types.protocols"]
    )


def test_a_plugins_command_is_found_by_its_entry_point(tmp_path: Path) -> None:
    info = tmp_path / "hello-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[deployq.commands]\nhello = hello:command\n")
    (tmp_path / "hello.py").write_text(
        "import click\n\n@click.command()\ndef command():\n    click.echo('hello to you')\n"
    )

    def deployq(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "deployq", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
        ).stdout

    assert "hello:command" in deployq("--help")
    assert deployq("hello") == "hello to you\n"
