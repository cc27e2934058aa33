"""One llama-server child with one model: its start, its calls, its end."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import time
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from deployq import ToolMissing, proc
from deployq_runtimes.orphans import forget, remember
from deployq_runtimes.probe import last_lines
from deployq_runtimes.server.errors import ApiError
from deployq_runtimes.server.options import Options

LOAD_SECONDS = 600.0
MOST_LOG_BYTES = 4 << 20
_POLL_SECONDS = 0.02
_SERIAL = count(1)
_STOPPED = (
    "model runner has unexpectedly stopped, this may be due to resource limitations or an "
    "internal error"
)
# Such as: load_tensors:   CPU_Mapped model buffer size =    93.71 MiB
_BUFFER = re.compile(
    rb"(\w+):\s+(\S+)\s+(model|KV|compute|output|RS)\s+buffer size\s*=\s*([\d.]+)\s*MiB"
)


class Engine:
    """A llama-server on a free loopback port, for one file and one set of load options."""

    def __init__(self, tool: Path, weights: Path, options: Options, folder: Path) -> None:
        self.tool = tool
        self.weights = weights
        self.options = options
        self.folder = folder
        self.port = _free_port()
        self.log = folder / "logs" / f"llama-server-{next(_SERIAL)}.log"
        self.child: proc.Child | None = None
        # A child that was killed breaks its connections before it can be waited for.
        self.broken = False
        # What the model takes: all of it, and what of it is on GPUs.
        self.memory_bytes = (0, 0)
        # One request at a time: so answers don't depend on who else asks.
        self.turn = asyncio.Lock()
        self.client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            timeout=httpx.Timeout(None, connect=10),
            trust_env=False,
        )

    @property
    def alive(self) -> bool:
        return not self.broken and self.child is not None and self.child.poll() is None

    async def start(self) -> None:
        """Start it and wait until the model is loaded.

        Raises:
            ApiError: 500, it died or took too long; with its own last words.
        """
        self.log.parent.mkdir(exist_ok=True)
        self.log.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            try:
                self.child = proc.start(self._argv(), stdout=log.fileno())
            except ToolMissing as exc:
                raise ApiError(500, exc.message) from exc
        remember(self.folder, self.child.pid)
        try:
            await self._until_healthy()
            self.memory_bytes = _memory_bytes(self.log.read_bytes())
        except BaseException:  # whoever asked may be gone by now: no child without an owner
            await self.stop()
            raise

    async def _until_healthy(self) -> None:
        deadline = time.monotonic() + LOAD_SECONDS
        while not await self._healthy():
            if not self.alive or time.monotonic() > deadline:
                raise ApiError(500, f"llama-server could not load the model: {self._ending()}")
            await asyncio.sleep(_POLL_SECONDS)

    def _argv(self) -> list[str]:
        options = self.options
        argv = [str(self.tool), "--model", str(self.weights), "--host", "127.0.0.1"]
        argv += ["--port", str(self.port), "--no-webui", "--offline", "--jinja", "-np", "1"]
        argv += ["-c", str(options.num_ctx), "--flash-attn", "auto"]
        argv += ["--log-verbosity", "4", "--no-log-prefix", "--no-log-timestamps"]
        argv += ["--context-shift", "--keep", str(max(options.num_keep, 0))]
        if options.num_batch > 0:
            argv += ["-b", str(options.num_batch), "-ub", str(options.num_batch)]
        if options.num_gpu >= 0:
            argv += ["-ngl", str(options.num_gpu)]
        if options.num_thread > 0:
            argv += ["-t", str(options.num_thread)]
        if options.main_gpu is not None:
            argv += ["--split-mode", "none", "--main-gpu", str(options.main_gpu)]
        if options.use_mmap is False:
            argv += ["--load-mode", "none"]
        return argv

    async def _healthy(self) -> bool:
        try:
            answer = await self.client.get("/health", timeout=5)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    async def stop(self) -> None:
        """End it, if it still runs."""
        await self.client.aclose()
        if self.child is not None:
            await asyncio.to_thread(proc.stop, self.child)
            forget(self.folder, self.child.pid)
        if self.log.exists() and self.child is not None and self.child.returncode in (0, -15):
            self.log.unlink()

    def trim_log(self) -> None:
        """Keep the log of a long-lived engine small; it is written in append mode."""
        if self.log.exists() and self.log.stat().st_size > MOST_LOG_BYTES:
            os.truncate(self.log, 0)

    # ------------------------------------------------------------ calls

    async def render(self, body: dict[str, Any]) -> str:
        """The prompt that the model's own Jinja template makes of `body["messages"]`."""
        return str((await self._ask("/apply-template", body))["prompt"])

    async def tokenize(self, text: str) -> list[int]:
        answer = await self._ask("/tokenize", {"content": text, "add_special": True})
        return list(answer["tokens"])

    async def detokenize(self, tokens: list[int]) -> str:
        return str((await self._ask("/detokenize", {"tokens": tokens}))["content"])

    async def _ask(self, path: str, body: dict[str, Any]) -> Any:
        try:
            answer = await self.client.post(path, json=body)
        except httpx.HTTPError as exc:
            raise self._gone() from exc
        if answer.status_code >= 400:
            raise ApiError(answer.status_code, answer.text.strip())
        return answer.json()

    async def complete(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The events of one streamed completion, the last one with `stop` true.

        Raises:
            ApiError: llama-server's own status and text, or 500 when it is gone.
        """
        try:
            async with self.client.stream("POST", "/completion", json=body) as answer:
                if answer.status_code >= 400:
                    text = (await answer.aread()).decode("utf-8", "replace")
                    raise ApiError(answer.status_code, text.strip())
                async for line in answer.aiter_lines():
                    if line.startswith("data: "):
                        yield json.loads(line.removeprefix("data: "))
                    elif line.startswith("error: "):
                        raise ApiError(500, line.removeprefix("error: "))
        except httpx.HTTPError as exc:
            raise self._gone() from exc

    def _gone(self) -> ApiError:
        self.broken = True
        return ApiError(500, f"{_STOPPED}: {self._ending()}")

    def _ending(self) -> str:
        """How it ended, as Ollama tells it, and its last words."""
        code = proc.ending_of(self.child, 0.2) if self.child is not None else None
        how = f"exit status {code}" if code is not None else "it still runs"
        if code is not None and code < 0:
            how = f"signal: {proc.signal_words(-code)}"
        return f"{how}; {self.log}: {last_lines(self.log, 6) or 'it printed nothing'}"


def _memory_bytes(log: bytes) -> tuple[int, int]:
    """Bytes in all and on GPUs, by the buffer sizes that llama-server tells while it loads."""
    sizes: dict[tuple[bytes, ...], int] = {}
    for component, backend, kind, mib in _BUFFER.findall(log):
        # A size that is told twice (a trial before the load) counts once, as told last.
        sizes[component, backend, kind] = int(float(mib) * 1024 * 1024)
    total = sum(sizes.values())
    on_cpu = sum(size for (_, backend, _), size in sizes.items() if b"CPU" in backend)
    return total, total - on_cpu


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
