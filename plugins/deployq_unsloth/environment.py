"""Where the user's own Unsloth is: the interpreter of an environment that has it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from deployq import ToolMissing
from deployq.scripts import Place, chosen_python

VARIABLE = "DEPLOYQ_UNSLOTH_PYTHON"
_CONDA_HOMES = ("miniconda3", "anaconda3", "miniforge3", "mambaforge", ".conda", "micromamba")
_SYSTEM_CONDA = ("/opt/conda", "/opt/miniconda3", "/opt/anaconda3")
_IN_HOME = ("unsloth", "unsloth_env", ".unsloth", ".unsloth/studio", ".venvs", ".virtualenvs")


def find_python(env: Mapping[str, str] = os.environ) -> Place:
    """The interpreter that has Unsloth: the configured one, else the first in the usual places.

    The usual ones: deployq's own environment, the active one, a project's .venv, conda's, PATH,
    those in the home folder, Unsloth Studio's. They are looked into; nothing is run.

    Raises:
        ToolMissing: there is none, or the configured one is no program.
    """
    hint = "name the python of the environment that you train in"
    if chosen := chosen_python(VARIABLE, "[backends.unsloth] python", hint, env):
        return chosen
    for place in _places(env):
        if has_unsloth(place.path) and (place.path / "bin" / "python").exists():
            return Place(place.path / "bin" / "python", place.origin)
    raise ToolMissing(
        "no environment with Unsloth was found in the usual places",
        hint="set python under [backends.unsloth] in deployq.toml: that of your training",
    )


def has_unsloth(home: Path) -> bool:
    """Whether the environment in a folder has Unsloth among its packages."""
    found = home.glob("lib/python3*/*-packages/unsloth/__init__.py")
    return next(found, None) is not None


def _places(env: Mapping[str, str]) -> Iterator[Place]:
    yield Place(Path(sys.prefix), "deployq's own environment")
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if active := env.get(variable):
            yield Place(Path(active), f"the active environment, {variable}")
    yield Place(Path.cwd() / ".venv", "this folder's .venv")
    for name in ("python3", "python"):
        if found := shutil.which(name, path=env.get("PATH", "")):
            yield Place(Path(found).parent.parent, "PATH")
    home = Path(env.get("HOME") or Path.home())
    for conda in (*(home / name for name in _CONDA_HOMES), *map(Path, _SYSTEM_CONDA)):
        yield Place(conda, "conda")
        for folder in sorted(conda.glob("envs/*")):
            yield Place(folder, f"conda, {folder.name}")
    for name in _IN_HOME:
        yield Place(home / name, f"~/{name}")
        for folder in sorted((home / name).glob("*")):
            yield Place(folder, f"~/{name}/{folder.name}")
