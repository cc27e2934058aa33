"""The runtime `embedded`: Ollama's API in front of llama-server, no Ollama needed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from deployq import Endpoint, Health, Serving, ToolMissing
from deployq.tools import require_tool
from deployq_runtimes.sharing import Launch, shared_server

_MODULES = ("httpx", "starlette", "uvicorn")
_HINT = "pip install 'deployq[embedded]'"


class Embedded:
    """deployq's own server; it keeps Ollama's own layout on disk, under `<folder>/models`."""

    name = "embedded"
    private = True

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self.env: Mapping[str, str] = os.environ if env is None else env

    def health(self) -> Health:
        """Are llama-server and the ASGI stack there?"""
        try:
            require_modules()
            tool = require_tool("llama-server", self.env)
        except ToolMissing as exc:
            return Health(False, detail=exc.message, hint=exc.hint)
        return tool.health()

    def models_dir(self, folder: Path) -> Path | None:
        """Where the server in `folder` keeps its models."""
        return folder / "models"

    def start(self, folder: Path, port: int = 0) -> AbstractContextManager[Endpoint]:
        """The endpoint of the embedded server in `folder`; on a free port unless given one.

        Raises:
            ToolMissing: no llama-server on this machine, or the extra `embedded` isn't installed.
        """
        require_modules()
        tool = require_tool("llama-server", self.env)
        launch = Launch(self.name, ("--llama-server", str(tool.path)), tool)
        return shared_server(folder, launch, port)

    def serving(self) -> Serving:
        """How it runs models: one request at a time, with flash attention."""
        return Serving(parallel=1, parallel_by=self.name)


def require_modules() -> None:
    """Raises ToolMissing if the extra `embedded` isn't installed; imports nothing."""
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise ToolMissing(
            f"the embedded runtime needs Python packages that are not installed: "
            f"{', '.join(missing)}",
            hint=_HINT,
        )
