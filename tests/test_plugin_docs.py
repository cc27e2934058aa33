"""docs/plugins: every hook has a page, and what stands there as code is run."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from deployq import hookspecs
from deployq.plugins import Choice, load_plugins
from deployq.plugins.parts import SHAPES

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(page for page in (ROOT / "docs" / "plugins").glob("*.md") if page.stem != "index")
HOOKS = {name for name in vars(hookspecs) if name.startswith(f"{hookspecs.PROJECT}_")}
CONFTEST = """
import pytest
from tests.tiny import write_tiny_llama

@pytest.fixture
def small_gguf(tmp_path_factory):
    return write_tiny_llama(tmp_path_factory.mktemp("model") / "small.gguf")
"""


def blocks(page: Path) -> dict[str, str]:
    """A page's Python, by the file name in the first line of each block."""
    found = re.findall(
        r"^```python\n# (\S+\.py)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
    )
    return dict(found)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of it as files in one folder."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "conftest.py").write_text(CONFTEST)
    for page in PAGES:
        for name, code in blocks(page).items():
            assert not (folder / name).exists(), f"{page.name}: {name} stands on another page, too"
            (folder / name).write_text(code)
    return folder


def test_every_hook_has_a_page_with_an_example() -> None:
    code = "".join(text for page in PAGES for text in blocks(page).values())
    shown = set(re.findall(r"@hookimpl\ndef (deployq_\w+)", code))
    assert shown == HOOKS
    index = (ROOT / "docs" / "plugins" / "index.md").read_text()
    assert {hook for hook in HOOKS if f"`{hook}`" not in index} == set()
    assert {page.name for page in PAGES} == set(re.findall(r"\]\((\w[\w-]*\.md)\)", index))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_a_plugin_and_its_test(page: Path) -> None:
    module, test = blocks(page)
    assert test == f"test_{module}"
    python = page.read_text().count("```python\n")
    assert python == 2, f"{page.name}: a block of Python has no file name in its first line"


def test_their_tests_pass(written: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "."],
        cwd=written,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(written), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert f"{len(PAGES)} passed" in done.stdout


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_deployq_takes_them(written: Path) -> None:
    files = [written / name for page in PAGES for name in list(blocks(page))[:1]]
    modules = {file.stem: load(file) for file in files if file.stem != "deployq_params"}
    said: list[str] = []
    plugins = load_plugins(Choice(only_builtin=True), modules, say=said.append)
    for name, module in modules.items():
        assert plugins.loaded.hooks_of(module, name)
    for hook in SHAPES:
        brought = [item.name for name in modules for item in plugins.brought_by(name, hook)]
        assert brought, hook
        assert set(brought) <= set(plugins.named(hook))
    assert said == []
    assert plugins.faults == {}
