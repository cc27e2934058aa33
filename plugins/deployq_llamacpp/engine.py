"""The engine `llama-server`: a GGUF file under llama.cpp directly."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from deployq import Health, RawModel
from deployq.tools import find_tool, require_tool

TOOL = "llama-server"


class LlamaServer:
    """Runs a model with the `llama-server` of this machine, for as long as it is asked."""

    name = TOOL

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._env = env

    def health(self) -> Health:
        """Is there a llama-server?"""
        tool = find_tool(TOOL, self._env)
        if tool is None:
            return Health(
                False, detail=f"{TOOL} is not on this machine", hint="deployq tools install"
            )
        return Health(True, version=tool.version, path=tool.path, detail=f"from {tool.origin}")

    def load(self, weights: Path, n_ctx: int) -> AbstractContextManager[RawModel]:
        """Start a llama-server with these weights; it is gone after the block.

        Raises:
            ToolMissing: there is none.
            BackendError: it does not load them; with its own last words.
        """
        # the HTTP stack is imported with the first model: a plan loads none and must start fast
        serving = importlib.import_module("deployq_llamacpp.serving")
        tool = require_tool(TOOL, self._env)
        loaded: AbstractContextManager[RawModel] = serving.loaded(tool.path, weights, n_ctx)
        return loaded
