"""A llama-server child with one model, for as long as a block lasts."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deployq import BackendError, proc
from deployq.tools import require_tool
from deployq_llamacpp.loading import rejected
from deployq_llamacpp.output import last_words

TOOL = "llama-server"
LOAD_SECONDS = 1800.0
ANSWER_SECONDS = 600.0
_POLL_SECONDS = 0.005
# Such as: load_tensors:   CPU_Mapped model buffer size =    93.71 MiB
_BUFFER = r"(\w+):\s+(\S+)\s+(model|KV|compute|output|RS)\s+buffer size\s*=\s*([\d.]+)\s*MiB"
MIB = 1 << 20


@dataclass(frozen=True)
class Serving:
    """A server that answers; `load_seconds` from its start until then."""

    url: str
    load_seconds: float
    log: Path
    name: str

    def ask(
        self, path: str, body: Mapping[str, Any], timeout_seconds: float = ANSWER_SECONDS
    ) -> Any:
        """Post a JSON body; gives the JSON that is answered.

        Raises:
            BackendError: it refused, broke off, or took too long.
        """
        try:
            with httpx.Client(trust_env=False, timeout=timeout_seconds) as client:
                answer = client.post(f"{self.url}{path}", json=dict(body))
        except httpx.HTTPError as exc:
            raise BackendError(
                f"llama-server broke off with {self.name}: {exc}\n{self.last_words()}"
            ) from exc
        if answer.status_code != httpx.codes.OK:
            raise BackendError(f"llama-server refused, with {self.name}: {answer.text[:400]}")
        return answer.json()

    def memory_bytes(self) -> int | None:
        """What it says that it allocated: weights, KV cache and buffers; None: it says nothing."""
        sizes: dict[tuple[str, ...], float] = {}
        for component, backend, kind, mib in re.findall(_BUFFER, self._printed()):
            # told twice (a trial before the load): the last one counts
            sizes[component, backend, kind] = float(mib)
        return int(sum(sizes.values()) * MIB) if sizes else None

    def last_words(self) -> str:
        return last_words(self._printed())

    def _printed(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


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
        only_load: nothing will be asked: weights are mapped, and left on the disk.

    Raises:
        ToolMissing: there is no llama-server.
        ModelRejected: llama.cpp refuses the file.
        BackendError: the model could not be loaded for another reason.
    """
    tool = require_tool(TOOL, env)
    port, log = _free_port(), folder / f"{TOOL}.log"
    argv = [str(tool.path), "--model", str(gguf.absolute()), "--host", "127.0.0.1"]
    argv += ["--port", str(port), "-c", str(n_ctx), "-np", "1", "--no-webui", "--offline"]
    argv += ["--log-verbosity", "4", "--no-log-prefix", "--no-log-timestamps"]
    argv += ["-t", str(threads)] if threads else []
    argv += ["-ngl", "0", "--no-warmup"] if only_load else []
    with log.open("wb") as output:
        started = time.monotonic()
        with proc.spawn(argv, stdout=output) as child:
            up = Serving(f"http://127.0.0.1:{port}", 0.0, log, gguf.name)
            seconds = _wait(child, up, started, gguf)
            yield Serving(up.url, seconds, log, gguf.name)


def _wait(child: proc.Child, up: Serving, started: float, gguf: Path) -> float:
    with httpx.Client(trust_env=False, timeout=5) as client:
        while time.monotonic() - started < LOAD_SECONDS:
            if child.poll() is not None:
                break
            if _healthy(client, up.url):
                return time.monotonic() - started
            time.sleep(_POLL_SECONDS)
    said = up.last_words()
    raise rejected(gguf, said, TOOL) or BackendError(
        f"llama-server could not load {up.name}:\n{said}"
    )


def _healthy(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(f"{url}/health").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
