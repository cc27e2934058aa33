"""Imports point down: cli, pipeline, the rooms, what all may use. No cycles, no short cuts."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("source", "plan", "artifacts", "tags", "proof", "report")
HOMES = {  # third-party library -> the parts that may import it
    "click": ("cli",),
    "rich": ("cli", "report"),
    "jinja2": ("tags", "report"),
    "ollama": ("tags",),
    "httpcore": ("tags",),
    "httpx": ("tags", "llama_server.py"),
    "requests": ("tags",),
    "keyring": ("tags",),
    "huggingface_hub": ("source",),
    "httpx2": ("source",),
    "psutil": (),
    "pynvml": (),
    "jsonschema": ("proof", "testing"),
    "jsonpath": ("proof",),
    "numpy": ("artifacts", "proof", "smoke_model.py", "source"),
    "rapidfuzz": ("proof",),
    "scipy": ("proof",),
}
# A part may import the parts on its line and on every line below it.
LAYERS = (
    ("cli",),
    ("pipeline",),
    ROOMS,
    (
        "config",
        "settings",
        "setting_values",
        "plugins",
        "smoke",
        "tools",
        "toolbuild",
        "convertbuild",
        "testing",
        "runners",
        "scripts",
    ),
    ("llama_server", "smoke_model"),
    (
        "addresses",
        "deadlines",
        "digests",
        "entrypoints",
        "files",
        "foreign_values",
        "ggml",
        "hookspecs",
        "llama_output",
        "proc",
        "units",
    ),
    ("serving",),
    ("types", "errors"),
    ("records",),
)
PUBLIC = {
    "deployq",
    "deployq.addresses",
    "deployq.deadlines",
    "deployq.ggml",
    "deployq.llama_output",
    "deployq.llama_server",
    "deployq.proc",
    "deployq.runners",
    "deployq.scripts",
    "deployq.serving",
    "deployq.testing",
    "deployq.tools",
}


def imports_of(file: Path) -> set[str]:
    """Absolute module names that a file imports, wherever in it.

    `from deployq import report` is an import of `deployq.report`, though the names in that
    package come later, by its `__init__.pyi`; those can name its own modules only.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "deployq":
                found |= {f"deployq.{alias.name}" for alias in node.names if is_part(alias.name)}
    return found


def is_part(name: str) -> bool:
    return (ROOT / "deployq" / name).is_dir() or (ROOT / "deployq" / f"{name}.py").exists()


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def layer(part: str) -> int:
    return next(i for i, parts in enumerate(LAYERS) if part in parts)


LAZY = sorted((ROOT / "deployq").rglob("*.pyi"))
CORE = [f for f in sorted((ROOT / "deployq").rglob("*.py")) if f.name != "__main__.py"]
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))


@pytest.mark.parametrize("file", CORE, ids=lambda f: str(f.relative_to(ROOT)))
def test_core_imports_point_down(file: Path) -> None:
    relative = file.relative_to(ROOT / "deployq").with_suffix("")
    here = "" if relative.name == "__init__" and len(relative.parts) == 1 else relative.parts[0]
    for module in imports_of(file):
        if not module.startswith("deployq.") or not here:
            continue
        there = part_of(module)
        if there == here:
            continue
        assert layer(there) >= layer(here), f"{file.name} imports up: {module}"
        assert not (here in ROOMS and there in ROOMS), f"room {here} imports room {there}"


@pytest.mark.parametrize("file", CORE, ids=lambda f: str(f.relative_to(ROOT)))
def test_each_library_has_one_home(file: Path) -> None:
    here = file.relative_to(ROOT / "deployq").parts[0]
    for module in imports_of(file):
        homes = HOMES.get(module.split(".")[0])
        assert homes is None or here in homes, f"{module} does not belong into {here}"


@pytest.mark.parametrize("file", CORE, ids=lambda f: str(f.relative_to(ROOT)))
def test_core_imports_no_plugin(file: Path) -> None:
    assert not [m for m in imports_of(file) if m.startswith("deployq_")]


@pytest.mark.parametrize("file", PLUGINS, ids=lambda f: str(f.relative_to(ROOT)))
def test_plugins_use_only_the_public_api(file: Path) -> None:
    package = file.relative_to(ROOT / "plugins").parts[0]
    for module in imports_of(file):
        top = module.split(".")[0]
        assert top != "deployq" or module in PUBLIC, f"{file.name} imports {module}"
        assert not top.startswith("deployq_") or top == package, f"{file.name} imports {module}"


@pytest.mark.parametrize(
    "file",
    [f for f in CORE if f.name != "proc.py"] + PLUGINS,
    ids=lambda f: str(f.relative_to(ROOT)),
)
def test_only_proc_starts_programs(file: Path) -> None:
    assert "subprocess" not in {m.split(".")[0] for m in imports_of(file)}


def test_all_that_is_imported_late_stands_in_stubs_and_in_the_verbs() -> None:
    """One rule: a package with an `__init__.pyi` loads its names late; beside it, six places."""
    stubbed = {f.with_suffix(".py") for f in LAZY}
    assert stubbed == {f for f in CORE if "lazy_loader" in imports_of(f)}
    late = {str(f.relative_to(ROOT)) for f in CORE + PLUGINS if "importlib" in imports_of(f)}
    assert late == {
        "deployq/cli/main.py",  # a verb
        "deployq/entrypoints.py",  # what an entry point names
        "deployq/source/hf.py",  # the gguf package, which brings numpy
        "deployq/foreign/jobside/entrance.py",  # PyTorch, where a job needs it
        "plugins/deployq_profilers/nvidia.py",  # pynvml
        "plugins/deployq_runtimes/probe.py",  # an HTTP stack
    }


@pytest.mark.parametrize("file", LAZY, ids=lambda f: str(f.relative_to(ROOT)))
def test_every_name_of_a_stub_can_be_had(file: Path) -> None:
    package = ".".join(file.parent.relative_to(ROOT).parts)
    modules = [
        f"{package}.{m.stem}" for m in file.parent.glob("*.py") if not m.stem.startswith("__")
    ]
    for module in (package, *modules):  # a module must not hide a function of its name
        importlib.import_module(module)
    for name in dir(importlib.import_module(package)):
        assert not isinstance(getattr(importlib.import_module(package), name), ModuleType)
