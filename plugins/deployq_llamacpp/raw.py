"""The engine `llama-server`: a GGUF file under llama.cpp directly."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deployq import Health
from deployq.tools import tool_health
from deployq_llamacpp import engine

if TYPE_CHECKING:
    from deployq import RawModel

TOOL = "llama-server"


class LlamaServer:
    """Runs a model with the `llama-server` of this machine, for as long as it is asked."""

    name = TOOL

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._env = env

    def health(self) -> Health:
        """Is there a llama-server?"""
        return tool_health(TOOL, self._env)

    @contextmanager
    def load(self, weights: Path, n_ctx: int) -> Iterator[RawModel]:
        """Start a llama-server with these weights; it is gone after the block.

        Raises:
            ToolMissing: there is none.
            BackendError: it does not load them; with its own last words.
        """
        with (
            tempfile.TemporaryDirectory(prefix="deployq-") as folder,
            engine.serving(weights, n_ctx, Path(folder), self._env) as server,
        ):
            yield engine.Loaded(server)
