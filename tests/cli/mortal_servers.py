"""Servers that a test kills (SIGKILL) and starts again over the same store."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from deployq_runtimes import Embedded
from deployq_runtimes.locks import is_locked
from deployq_runtimes.sharing import read_address

from deployq import proc
from tests.ollama_fixtures import start_ollama

GONE_SECONDS = 30.0


class MortalServer(Protocol):
    """A server over the store in `folder`."""

    folder: Path

    def start(self) -> str:
        """Up again; its address, which may be another one than before."""
        ...

    def kill(self) -> None:
        """It is dead when this returns, and had no time to tidy up."""
        ...

    def stop(self) -> None:
        """An orderly end, if it still runs."""
        ...


class MortalOllama:
    """A real `ollama serve`."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.binary = binary
        self.folder = folder
        self._child: proc.Child | None = None

    def start(self) -> str:
        self._child, endpoint = start_ollama(self.binary, self.folder)
        return endpoint.url

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self.stop()  # what it had started

    def stop(self) -> None:
        if self._child is not None:
            proc.stop(self._child)
            self._child = None


class MortalEmbedded:
    """The embedded runtime; what it had started is ended by the next one, as it is for users."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()

    def start(self) -> str:
        self._stack.close()  # a killed one's users
        return self._stack.enter_context(Embedded().start(self.folder)).url

    def kill(self) -> None:
        address = read_address(self.folder)
        assert address is not None, "it does not run"
        os.kill(address.pid, signal.SIGKILL)
        self._until_gone()

    def stop(self) -> None:
        self._stack.close()
        self._until_gone()

    def _until_gone(self) -> None:
        deadline = time.monotonic() + GONE_SECONDS
        while is_locked(self.folder / "serve.lock"):
            assert time.monotonic() < deadline, "the embedded runtime did not end"
            time.sleep(0.02)
