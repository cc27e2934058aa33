"""The llama-server of this machine with one model, for as long as a block lasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deployq import llama_server
from deployq.llama_server import NotLoaded, Serving
from deployq.tools import require_tool
from deployq_llamacpp.loading import rejected

TOOL = "llama-server"


@contextmanager
def serving(
    gguf: Path,
    n_ctx: int,
    folder: Path,
    env: Mapping[str, str],
    threads: int | None = None,
    *,
    only_load: bool = False,
) -> Iterator[Serving]:
    """Load a file and serve it on a free port of this machine.

    Args:
        folder: where the log goes.
        env: where llama-server is looked for.
        only_load: nothing will be asked: weights are mapped, and left on the disk.

    Raises:
        ToolMissing: there is no llama-server.
        ModelRejected: llama.cpp refuses the file.
        BackendError: the model could not be loaded for another reason.
    """
    tool = require_tool(TOOL, env)
    loaded = llama_server.serving(
        tool.path,
        gguf,
        n_ctx,
        folder,
        env=tool.smoke.env,
        threads=threads,
        only_load=only_load,
    )
    try:
        with loaded as server:
            yield server
    except NotLoaded as exc:
        raise (rejected(gguf, exc.said, TOOL) or exc) from exc
