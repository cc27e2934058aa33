"""The runtime `managed`: the installed `ollama serve` in a folder of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from deployq import Endpoint, Health, Serving, ToolMissing, proc
from deployq.serving import serving_of
from deployq.tools import NEEDS_MEND, Tool, ollama_folders, tool_at
from deployq_runtimes.sharing import Launch, shared_server

BINARY_VARIABLE = "DEPLOYQ_OLLAMA"
_PLACES = (
    "/usr/local/bin/ollama",
    "/usr/bin/ollama",
    "/opt/homebrew/bin/ollama",
    "/Applications/Ollama.app/Contents/Resources/ollama",
)
_HINT = f"install Ollama, set {BINARY_VARIABLE}, or use --runtime embedded"


class Managed:
    """An Ollama that deployq starts for itself; the user's own store is never touched."""

    name = "managed"
    private = True

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self.env: Mapping[str, str] = os.environ if env is None else env

    def health(self) -> Health:
        """Is there a binary, and does it run?"""
        try:
            binary = find_ollama(self.env)
            # A host that nobody listens on: the binary is asked, not a server.
            said = proc.run(
                [binary, "--version"], env={"OLLAMA_HOST": "127.0.0.1:1"}, timeout_seconds=20
            ).stdout
        except ToolMissing as exc:
            return Health(False, detail=exc.message, hint=exc.hint)
        version = said.split()[-1] if said.split() else ""
        engine = engine_of(binary, self.env)
        if engine is not None and engine.smoke.problem:
            detail = f"its engine {engine.path} {engine.smoke.problem}"
            return Health(False, version, binary, detail, _HINT)
        mend = engine.smoke.mend if engine else ""
        return Health(True, version, binary, f"run with {mend}: {NEEDS_MEND}" if mend else "")

    def models_dir(self, folder: Path) -> Path | None:
        """Where the server in `folder` keeps its models."""
        return folder / "models"

    def start(self, folder: Path, port: int = 0) -> AbstractContextManager[Endpoint]:
        """The endpoint of a private `ollama serve` in `folder`; on a free port unless given one.

        Raises:
            ToolMissing: no ollama on this machine.
        """
        binary = find_ollama(self.env)
        engine = engine_of(binary, self.env)
        return shared_server(folder, Launch(self.name, ("--binary", str(binary)), engine), port)

    def serving(self) -> Serving:
        """How it runs models: it is started with deployq's own environment."""
        return serving_of(self.env)


def find_ollama(env: Mapping[str, str]) -> Path:
    """The `ollama` binary: `DEPLOYQ_OLLAMA`, else PATH, else the usual places.

    Raises:
        ToolMissing: it is nowhere.
    """
    for candidate in _candidates(env):
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    if env.get(BINARY_VARIABLE):
        raise ToolMissing(f"{BINARY_VARIABLE} names no program: {env[BINARY_VARIABLE]}", hint=_HINT)
    raise ToolMissing("ollama is not on this machine", hint=_HINT)


def engine_of(binary: Path, env: Mapping[str, str]) -> Tool | None:
    """The llama-server that an Ollama brings along; None where it has none (before 0.30)."""
    places = (folder / "llama-server" for folder in ollama_folders(binary))
    found = next((path for path in places if path.is_file()), None)
    return tool_at("llama-server", found, env, "the installed Ollama") if found else None


def _candidates(env: Mapping[str, str]) -> Iterator[Path]:
    if env.get(BINARY_VARIABLE):
        yield Path(env[BINARY_VARIABLE]).expanduser()
        return
    found = shutil.which("ollama", path=env.get("PATH", ""))
    if found:
        yield Path(found)
    yield from map(Path, _PLACES)
