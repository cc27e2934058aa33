"""The interpreter that converts, one that has PyTorch: where it is, what it has, and its jobs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deployq import Json, ToolMissing
from deployq.runners import Events, run_job
from deployq.scripts import Place, chosen_python
from deployq.tools import convert_python

_RUNNER = Path(__file__).parent
_ENV = {"CUDA_VISIBLE_DEVICES": ""}


def find_python(env: Mapping[str, str] = os.environ) -> Place:
    """The interpreter that converts: the configured one, else that of the managed environment.

    Raises:
        ToolMissing: there is none, or the configured one is no program.
    """
    hint = "name the python of an environment with torch and transformers"
    if chosen := chosen_python("DEPLOYQ_CONVERT_PYTHON", "[tools] convert_python", hint, env):
        return chosen
    if managed := convert_python(env):
        return Place(managed, "deployq tools install convert")
    raise ToolMissing(
        "nothing here converts Hugging Face models: no Python with torch and transformers is named",
        hint="deployq tools install convert, or set [tools] convert_python in deployq.toml",
    )


def run(
    python: Path,
    job: Mapping[str, Json],
    on_event: Callable[[str, Mapping[str, Any]], None] | None = None,
) -> Events:
    """Have this plugin's runner do a job, on the CPU; raises as `deployq.runners.run_job` does."""
    return run_job(python, _RUNNER, job, on_event, _ENV)


def versions(python: Path, packages: Sequence[str]) -> Mapping[str, str | None]:
    """The versions of packages that an interpreter has; None: it lacks that one."""
    said = run(python, {"job": "versions", "packages": list(packages)}).last("versions")
    found: Mapping[str, str | None] = said["versions"] if said else {}
    return found
