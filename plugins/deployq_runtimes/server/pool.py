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
from deployq_runtimes.server.options import FOREVER, Options

MAX_LOADED = 3
_SWEEP_SECONDS = 0.2


@dataclass
class Loaded:
    """One model in memory. `model` is the tag that loaded it; others with its weights share it."""

    engine: Engine
    model: Model
    options: Options
    users: int = 0
    doomed: bool = False
    keep_seconds: float = 0.0
    idle_since: float = field(default_factory=time.monotonic)
    expires_at: float = 0.0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def touch(self, keep_seconds: float) -> None:
        """Count the time to live from now."""
        self.keep_seconds = keep_seconds
        self.idle_since = time.monotonic()
        self.expires_at = time.time() + keep_seconds

    @property
    def expired(self) -> bool:
        spent = time.monotonic() - self.idle_since >= self.keep_seconds
        return not self.users and (self.doomed or spent)


class Pool:
    """Starts, shares and ends engines; `folder` is where their logs go."""

    def __init__(self, tool: Path, folder: Path, max_loaded: int = MAX_LOADED) -> None:
        self.tool = tool
        self.folder = folder
        self.max_loaded = max_loaded
        self.loaded: dict[Path, Loaded] = {}
        self._loading = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def use(
        self, model: Model, options: Options, keep_seconds: float
    ) -> AsyncIterator[Loaded]:
        """The loaded model; inside the block it is not unloaded.

        Raises:
            ApiError: it can't be loaded.
        """
        loaded = await self._ready(model, options)
        try:
            yield loaded
        finally:
            loaded.users -= 1
            loaded.touch(keep_seconds)
            if not loaded.users:
                loaded.idle.set()
            if loaded.expired:
                await self.unload(model.weights, loaded)

    async def _ready(self, model: Model, options: Options) -> Loaded:
        """A running engine for the model, counted as used."""
        found = self._running(model, options)
        if found is None:
            async with self._loading:
                found = self._running(model, options) or await self._load(model, options)
        return found

    def _running(self, model: Model, options: Options) -> Loaded | None:
        found = self.loaded.get(model.weights)
        if found is None or not found.engine.alive or found.options.load != options.load:
            return None
        return self._take(found)

    def _take(self, loaded: Loaded) -> Loaded:
        loaded.users += 1
        loaded.idle.clear()
        return loaded

    async def _load(self, model: Model, options: Options) -> Loaded:
        """In place of the one with other options; the longest unused one makes room."""
        if other := self.loaded.get(model.weights):
            if other.engine.alive:
                await self._until_idle([other])
            await self.unload(model.weights, other)
        while len(self.loaded) >= self.max_loaded:
            await self._until_idle(list(self.loaded.values()))
            idle = [item for item in self.loaded.items() if not item[1].users]
            if idle:
                weights, oldest = min(idle, key=lambda item: item[1].idle_since)
                await self.unload(weights, oldest)
        engine = Engine(self.tool, model.weights, options, self.folder)
        await engine.start()
        loaded = self.loaded[model.weights] = Loaded(engine, model, options)
        loaded.touch(FOREVER)
        return self._take(loaded)

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

    async def unload(self, weights: Path, loaded: Loaded | None = None) -> None:
        """Forget a model and end its engine; nothing happens where it isn't loaded."""
        found = self.loaded.get(weights)
        if found is not None and loaded in (None, found):
            del self.loaded[weights]
            await found.engine.stop()

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

    async def close(self) -> None:
        """End all engines."""
        await asyncio.gather(*(self.unload(weights) for weights in list(self.loaded)))
