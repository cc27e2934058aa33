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

from deployq import proc
from deployq.errors import BackendError
from deployq.llama_output import last_words

LOAD_SECONDS = 1800.0
ANSWER_SECONDS = 600.0
_POLL_SECONDS = 0.005
# Such as: load_tensors:   CPU_Mapped model buffer size =    93.71 MiB
_BUFFER = r"(\w+):\s+(\S+)\s+(model|KV|compute|output|RS)\s+buffer size\s*=\s*([\d.]+)\s*MiB"
MIB = 1 << 20


class NotLoaded(BackendError):
    """llama-server ended before it served a file; `said` are its last words."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(f"{message}:\n{said}")
        self.said = said


@dataclass(frozen=True)
class Serving:
    """A server that answers; `load_seconds` from its start until then."""

    url: str
    load_seconds: float
    log: Path
    name: str
    child: proc.Child

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
            ended = proc.ending_of(self.child)
            how = proc.describe_exit(ended) if ended is not None else f"broke off ({exc})"
            raise BackendError(
                f"llama-server {how} while answering with {self.name}:\n{self.last_words()}"
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
    server: Path,
    gguf: Path,
    n_ctx: int,
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    threads: int | None = None,
    load_seconds: float = LOAD_SECONDS,
    only_load: bool = False,
) -> Iterator[Serving]:
    """Load a file and serve it on a free port of this machine.

    Args:
        server: the llama-server to run.
        folder: where the log goes.
        env: variables laid over this process's own.
        load_seconds: how long loading may take.
        only_load: nothing will be asked: weights are mapped, and left on the disk.

    Raises:
        ToolMissing: it can't be executed.
        NotLoaded: how the server ended, and its last words.
        BackendError: it took too long.
    """
    port, log = _free_port(), folder / "llama-server.log"
    argv = [str(server), "--model", str(gguf.absolute()), "--host", "127.0.0.1"]
    argv += ["--port", str(port), "-c", str(n_ctx), "-np", "1", "--no-webui", "--offline"]
    argv += ["--log-verbosity", "4", "--no-log-prefix", "--no-log-timestamps"]
    argv += ["-t", str(threads)] if threads else []
    argv += ["-ngl", "0", "--no-warmup"] if only_load else []
    with log.open("wb") as output:
        started = time.monotonic()
        with proc.spawn(argv, env=env, stdout=output) as child:
            up = Serving(f"http://127.0.0.1:{port}", 0.0, log, gguf.name, child)
            seconds = _wait(up, started, load_seconds)
            yield Serving(up.url, seconds, log, gguf.name, child)


def _wait(up: Serving, started: float, limit_seconds: float) -> float:
    with httpx.Client(trust_env=False, timeout=5) as client:
        while up.child.poll() is None:
            if _healthy(client, up.url):
                return time.monotonic() - started
            if time.monotonic() - started > limit_seconds:
                raise BackendError(
                    f"llama-server did not load {up.name} within {limit_seconds:g} s:\n"
                    f"{up.last_words()}"
                )
            time.sleep(_POLL_SECONDS)
    code = up.child.returncode
    how = f"could not load {up.name}"
    if code < 0 or proc.crash_of(code):
        how = f"{proc.describe_exit(code)} while loading {up.name}"
    raise NotLoaded(f"llama-server {how}", up.last_words())


def _healthy(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(f"{url}/health").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
