"""Where the interpreter that converts is: one that has PyTorch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from deployq import ToolMissing
from deployq.scripts import Place
from deployq.tools import convert_python


def find_python(env: Mapping[str, str] = os.environ) -> Place:
    """The interpreter that converts: the configured one, else that of the managed environment.

    Raises:
        ToolMissing: there is none, or the configured one is no program.
    """
    if chosen := env.get("DEPLOYQ_CONVERT_PYTHON", "").strip():
        found = shutil.which(Path(chosen).expanduser(), path=env.get("PATH", ""))
        if found is None:
            raise ToolMissing(
                f"[tools] convert_python: {chosen} is no program",
                hint="name the python of an environment with torch and transformers",
            )
        return Place(Path(found), "[tools] convert_python")
    if managed := convert_python(env):
        return Place(managed, "deployq tools install convert")
    raise ToolMissing(
        "nothing here converts Hugging Face models: no Python with torch and transformers is named",
        hint="deployq tools install convert, or set [tools] convert_python in deployq.toml",
    )
