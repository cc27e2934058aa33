"""The llama-server of this machine with one model, for as long as a block lasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deployq import llama_server
from deployq.llama_server import Serving
from deployq.tools import require_tool

TOOL = "llama-server"


@contextmanager
def serving(
    gguf: Path, n_ctx: int, folder: Path, env: Mapping[str, str], threads: int | None = None
) -> Iterator[Serving]:
    """Load a file and serve it on a free port of this machine.

    Args:
        folder: where the log goes.
        env: where llama-server is looked for.

    Raises:
        ToolMissing: there is no llama-server.
        BackendError: the model could not be loaded.
    """
    tool = require_tool(TOOL, env)
    with llama_server.serving(
        tool.path, gguf, n_ctx, folder, env=tool.smoke.env, threads=threads
    ) as server:
        yield server
