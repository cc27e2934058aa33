"""`deployq plugins new`: what it writes can be installed, is found, and its own tests pass."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from deployq import ConfigError, DiskError
from deployq.pipeline.newplugin import KINDS, new_plugin
from tests.installed import Installed


@pytest.mark.parametrize("name", ["", "Gadget", "1st", "a_b", "-a", "a-", "a b", "../a", "a/b"])
def test_a_name_that_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="can't be a plugin's name"):
        new_plugin(name, "check", tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path: Path) -> None:
    made = new_plugin("gadget", "check", tmp_path)
    (made / "README.md").write_text("mine")
    with pytest.raises(DiskError, match="is there already"):
        new_plugin("deployq-gadget", "profiler", tmp_path)
    assert (made / "README.md").read_text() == "mine"
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="can't be written"):
        new_plugin("gadget", "check", tmp_path / "file")


def test_each_kind_is_installed_and_its_tests_pass(installed: Installed, tmp_path: Path) -> None:
    """Made by the installed command; into a folder, so that the venv stays as it is."""
    made = []
    for kind in KINDS:
        argv = ("plugins", "new", f"my-{kind}", "--kind", kind, "--folder", "made")
        ran = installed.deployq(tmp_path, *argv)
        assert ran.returncode == 0, ran.stderr
        made.append(tmp_path / ran.stdout.strip())
    site = tmp_path / "site"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    target = ("--no-build-isolation", "--target", str(site))
    done = installed.run(tmp_path, *pip, *target, *map(str, made))
    assert done.returncode == 0, done.stderr

    env = {"PYTHONPATH": str(site)}
    listed = json.loads(installed.deployq(tmp_path, "plugins", "--json", **env).stdout)["plugins"]
    found = {p["name"]: p for p in listed if p["name"].startswith("my-")}
    assert {name: p["health"] for name, p in found.items()} == {f"my-{k}": "ok" for k in KINDS}
    assert found["my-lifecycle"]["distribution"] == "deployq-my-lifecycle"

    pytest_ = (
        str(installed.python),
        "-m",
        "pytest",
        "-q",
        "-W",
        "error",
        "--import-mode=importlib",
    )
    tests = installed.run(tmp_path, *pytest_, *(str(folder / "tests") for folder in made), **env)
    assert tests.returncode == 0, tests.stdout
    assert "7 passed" in tests.stdout


def test_a_command_of_deployq_s_own_name(installed: Installed, tmp_path: Path) -> None:
    ran = installed.deployq(tmp_path, "plugins", "new", "push", "--kind", "command")
    assert ran.returncode == 2
    assert "deployq has a command 'push' of its own" in ran.stderr
