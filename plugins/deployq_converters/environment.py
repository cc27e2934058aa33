"""Where the interpreter that converts is: one that has PyTorch."""

from __future__ import annotations

import os
from collections.abc import Mapping

from deployq import ToolMissing
from deployq.scripts import Place, chosen_python
from deployq.tools import convert_python


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
