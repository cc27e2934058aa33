"""Loaded models: one llama-server for each file of weights, a few at a time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from deployq_runtimes.server.engine import Engine
from deployq_runtimes.server.model import Model
from deployq_runtimes.server.options import Options

MAX_LOADED = 3
_SWEEP_SECONDS = 0.2


@dataclass
class Loaded:
    """One model in memory. `model` is the tag that loaded it; others with its weights share it.

    It is unloaded once it had no user for `keep_seconds`, or, when `doomed`, no user at all.
    """

    engine: Engine
    model: Model
    options: Options
    keep_seconds: float
    users: int = 0
    doomed: bool = False
    used_at: float = field(default_factory=time.time)
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self) -> None:
        self.users += 1
        self.idle.clear()

    def release(self, keep_seconds: float) -> None:
        """One user less; the time to live counts from now."""
        self.users -= 1
        self.keep_seconds = keep_seconds
        self.used_at = time.time()
        if not self.users:
            self.idle.set()

    @property
    def expires_at(self) -> float:
        """Seconds since the epoch; infinite for a model that stays."""
        return (time.time() if self.users else self.used_at) + self.keep_seconds

    @property
    def expired(self) -> bool:
        return not self.users and (self.doomed or time.time() >= self.expires_at)


class Pool:
    """Starts, shares and ends engines; `folder` is where their logs go."""

    def __init__(self, tool: Path, folder: Path, max_loaded: int = MAX_LOADED) -> None:
        self.tool = tool
        self.folder = folder
        self.max_loaded = max_loaded
        self.loaded: dict[Path, Loaded] = {}
        self._loading = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def use(
        self, model: Model, options: Options, keep_seconds: float
    ) -> AsyncIterator[Loaded]:
        """The loaded model; inside the block it is not unloaded.

        Raises:
            ApiError: it can't be loaded.
        """
        loaded = await self._ready(model, options, keep_seconds)
        try:
            yield loaded
        finally:
            loaded.release(keep_seconds)
            if loaded.expired:
                self._drop(model.weights, loaded)

    async def _ready(self, model: Model, options: Options, keep_seconds: float) -> Loaded:
        """A running engine for the model, counted as used."""
        found = self._running(model, options)
        if found is None:
            async with self._loading:
                found = self._running(model, options)
                if found is None:
                    found = await self._load(model, options, keep_seconds)
        return found

    def _running(self, model: Model, options: Options) -> Loaded | None:
        found = self.loaded.get(model.weights)
        if found is None or not found.engine.alive or found.options.load != options.load:
            return None
        found.take()
        return found

    async def _load(self, model: Model, options: Options, keep_seconds: float) -> Loaded:
        """In place of the one with other options; the longest unused one makes room."""
        if other := self.loaded.get(model.weights):
            if other.engine.alive:
                await self._until_idle([other])
            await self.unload(model.weights, other)
        while len(self.loaded) >= self.max_loaded:
            await self._until_idle(list(self.loaded.values()))
            idle = [item for item in self.loaded.items() if not item[1].users]
            if idle:
                await self.unload(*min(idle, key=lambda item: item[1].used_at))
        engine = Engine(self.tool, model.weights, options, self.folder)
        await engine.start()
        loaded = self.loaded[model.weights] = Loaded(engine, model, options, keep_seconds)
        loaded.take()
        return loaded

    async def _until_idle(self, some: list[Loaded]) -> None:
        """Wait until one of them has no user."""
        if any(not loaded.users for loaded in some):
            return
        waits = [asyncio.ensure_future(loaded.idle.wait()) for loaded in some]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def unload(self, weights: Path, loaded: Loaded) -> None:
        """Forget a model and wait until its engine has ended."""
        await asyncio.shield(self._drop(weights, loaded))

    def _drop(self, weights: Path, loaded: Loaded) -> asyncio.Task[None]:
        """Forget a model; its engine is ended by a task that no client's going away can cancel."""
        if self.loaded.get(weights) is loaded:
            del self.loaded[weights]
        task = asyncio.create_task(loaded.engine.stop())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def expire(self, model: Model) -> None:
        """Unload a model: at once, or as soon as nobody uses it."""
        if found := self.loaded.get(model.weights):
            found.doomed = True
            if found.expired:
                await self.unload(model.weights, found)

    async def sweep(self) -> None:
        """For as long as the server runs: unload what expired, forget what died."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            for weights, loaded in list(self.loaded.items()):
                if loaded.expired or not (loaded.engine.alive or loaded.users):
                    await self.unload(weights, loaded)
                else:
                    loaded.engine.trim_log()

    async def close(self) -> None:
        """End all engines."""
        for weights, loaded in list(self.loaded.items()):
            self._drop(weights, loaded)
        await asyncio.gather(*self._ending)
