"""The ASGI application: Ollama's routes, their errors, and who may ask."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from deployq_runtimes.server import body
from deployq_runtimes.server.access import LocalOnly
from deployq_runtimes.server.chat import Chat, Generate
from deployq_runtimes.server.create import Creation
from deployq_runtimes.server.errors import ApiError, not_here
from deployq_runtimes.server.model import Model, load_model
from deployq_runtimes.server.names import parse_name
from deployq_runtimes.server.pool import Loaded, Pool
from deployq_runtimes.server.show import listing, rfc3339, show
from deployq_runtimes.server.store import Store

# The API that is spoken, and (as semver's build part, which no comparison counts) who speaks it.
VERSION = "0.34.4+deployq"
_FOREVER_SECONDS = 290 * 365 * 86400
_ELSEWHERE = ("embed", "embeddings", "pull", "push", "me", "signout")

Lines = AsyncGenerator[dict[str, Any], None]


def build(folder: Path, tool: Path) -> Starlette:
    """The application over `<folder>/models`, with `tool` as its llama-server."""
    pool = Pool(tool, folder)
    api = Api(Store(folder / "models"), pool)
    routes = [
        Route("/", api.root, methods=["GET", "HEAD"]),
        Route("/api/version", api.version, methods=["GET", "HEAD"]),
        Route("/api/tags", api.tags, methods=["GET", "HEAD"]),
        Route("/api/ps", api.ps, methods=["GET", "HEAD"]),
        Route("/api/show", api.show, methods=["POST"]),
        Route("/api/blobs/{digest}", api.blob, methods=["HEAD", "POST"]),
        Route("/api/create", api.create, methods=["POST"]),
        Route("/api/copy", api.copy, methods=["POST"]),
        Route("/api/delete", api.delete, methods=["DELETE"]),
        Route("/api/generate", api.generate, methods=["POST"]),
        Route("/api/chat", api.chat, methods=["POST"]),
        *(Route(f"/api/{name}", api.elsewhere, methods=["POST"]) for name in _ELSEWHERE),
        Route("/v1/{rest:path}", api.elsewhere, methods=["GET", "POST"]),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        sweep = asyncio.create_task(pool.sweep())
        try:
            yield
        finally:
            sweep.cancel()
            await pool.close()

    return Starlette(
        routes=routes,
        middleware=[Middleware(LocalOnly)],
        exception_handlers={
            ApiError: _said_no,
            HTTPException: _no_route,
            ClientDisconnect: _gone,
            OSError: _no_disk,
        },
        lifespan=lifespan,
    )


class Api:
    """The handlers, one a route."""

    def __init__(self, store: Store, pool: Pool) -> None:
        self.store = store
        self.pool = pool

    async def root(self, _: Request) -> Response:
        return PlainTextResponse("Ollama is running")

    async def version(self, _: Request) -> Response:
        return JSONResponse({"version": VERSION})

    async def tags(self, _: Request) -> Response:
        return JSONResponse({"models": listing(self.store)})

    async def ps(self, _: Request) -> Response:
        rows = sorted(self.pool.loaded.values(), key=lambda row: row.expires_at, reverse=True)
        return JSONResponse({"models": [_process(row) for row in rows]})

    async def elsewhere(self, request: Request) -> Response:
        raise not_here(request.url.path)

    async def show(self, request: Request) -> Response:
        asked = body.decode(await request.body(), body.SHOW)
        name = asked.get("model") or asked.get("name") or ""
        if not name:
            raise ApiError(400, "model is required")
        model = self._model(name, shown=self.store.settle(parse_name(name)).short)
        system, verbose = asked.get("system", ""), asked.get("verbose", False)
        return JSONResponse(show(model, system=system, verbose=verbose))

    async def blob(self, request: Request) -> Response:
        digest = request.path_params["digest"]
        path = self.store.blob(digest)
        if request.method == "HEAD":
            return Response(status_code=200 if path.exists() else 404)
        if path.exists():
            return Response()
        received = await self.store.receive(request.stream())
        if received != digest:
            raise ApiError(400, f'digest mismatch, expected "{digest}", got "{received}"')
        return Response(status_code=201)

    async def create(self, request: Request) -> Response:
        asked = body.decode(await request.body(), body.CREATE)
        creation = Creation(self.store, asked)
        if asked.get("stream", True):
            return await _streamed(request, _statuses(creation.steps()))
        for _ in creation.steps():
            pass
        return JSONResponse({"status": "success"})

    async def copy(self, request: Request) -> Response:
        asked = body.decode(await request.body(), body.COPY)
        names = {}
        for end in ("source", "destination"):
            names[end] = parse_name(asked.get(end, ""))
            if not names[end].valid:
                raise ApiError(400, f'{end} "{asked.get(end, "")}" is invalid')
        source, destination = map(self.store.settle, names.values())
        try:
            self.store.copy(source, destination)
        except FileNotFoundError as exc:
            raise ApiError(404, f'model "{asked["source"]}" not found') from exc
        return Response()

    async def delete(self, request: Request) -> Response:
        asked = body.decode(await request.body(), body.DELETE)
        name = asked.get("model") or asked.get("name") or ""
        if not name:
            raise ApiError(400, "model is required")
        parsed = parse_name(name)
        if not parsed.valid:
            raise ApiError(400, f'name "{name}" is invalid')
        try:
            self.store.delete(self.store.settle(parsed))
        except FileNotFoundError as exc:
            raise ApiError(404, f"model '{name}' not found") from exc
        return Response()

    async def generate(self, request: Request) -> Response:
        asked = body.decode(await request.body(), body.GENERATE)
        _check_logprobs(asked)
        if not asked.get("model"):
            raise ApiError(404, "model '' not found")
        return await self._run(request, Generate(self.pool, self._model(asked["model"]), asked))

    async def chat(self, request: Request) -> Response:
        asked = body.decode(await request.body(), body.CHAT)
        _check_logprobs(asked)
        if not asked.get("model"):
            raise ApiError(400, "model is required")
        return await self._run(request, Chat(self.pool, self._model(asked["model"]), asked))

    def _model(self, text: str, shown: str | None = None) -> Model:
        name = parse_name(text)
        if not name.valid:
            raise ApiError(400, "invalid model name")
        try:
            return load_model(self.store, self.store.settle(name))
        except FileNotFoundError as exc:
            raise ApiError(404, f"model '{shown or text}' not found") from exc

    async def _run(self, request: Request, run: Generate | Chat) -> Response:
        if run.is_load and run.keep_seconds == 0:
            await self.pool.expire(run.model)
            return JSONResponse(run.simple("unload"))
        run.prepare()
        if run.is_load:
            await run.load()
            return JSONResponse(run.simple("load"))
        if run.request.get("stream", True) and not run.request.get("_debug_render_only"):
            return await _streamed(request, run.lines())
        return JSONResponse(await _while_connected(request, _joined(run.lines())))


# -------------------------------------------------------------------- answers


def _check_logprobs(asked: dict[str, Any]) -> None:
    if not 0 <= asked.get("top_logprobs", 0) <= 20:
        raise ApiError(400, "top_logprobs must be between 0 and 20")


async def _statuses(steps: Iterator[str]) -> Lines:
    for step in steps:
        yield {"status": step}
    yield {"status": "success"}


class _NdJson(StreamingResponse):
    """One JSON object a line; the lines' source is closed with the response, however that ends."""

    def __init__(self, first: dict[str, Any], lines: Lines) -> None:
        super().__init__(_encoded(first, lines), media_type="application/x-ndjson")
        self.lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with contextlib.aclosing(self.lines):
            await super().__call__(scope, receive, send)


async def _streamed(request: Request, lines: Lines) -> Response:
    """A stream; an error before the first line is an answer of its own, later it is a line."""
    return _NdJson(await _while_connected(request, anext(lines)), lines)


async def _encoded(first: dict[str, Any], lines: Lines) -> AsyncIterator[bytes]:
    yield _line(first)
    try:
        async for line in lines:
            yield _line(line)
    except ApiError as exc:
        yield _line({"error": exc.message})
    except OSError as exc:
        yield _line({"error": _words(exc)})


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


async def _joined(lines: Lines) -> dict[str, Any]:
    """All lines as one: the last one, with the texts and log probabilities of all."""
    texts: dict[str, str] = {}
    logprobs: list[Any] = []
    last: dict[str, Any] = {}
    async with contextlib.aclosing(lines):
        async for line in lines:
            holder = line.get("message", line)
            for key in ("response", "content", "thinking"):
                if key in holder:
                    texts[key] = texts.get(key, "") + holder[key]
            logprobs += line.get("logprobs", ())
            last = line
    last.get("message", last).update({key: text for key, text in texts.items() if text})
    return last | ({"logprobs": logprobs} if logprobs else {})


async def _while_connected(
    request: Request, work: Coroutine[Any, Any, dict[str, Any]]
) -> dict[str, Any]:
    """The result of the work; it is given up as soon as the client is gone."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _process(loaded: Loaded) -> dict[str, Any]:
    """One row of `/api/ps`."""
    total, on_gpu = loaded.engine.memory_bytes
    expires_at = min(loaded.expires_at, time.time() + _FOREVER_SECONDS)
    return {
        "name": loaded.model.name.short,
        "model": loaded.model.name.short,
        "size": total,
        "digest": loaded.model.manifest.digest,
        "details": loaded.model.details(),
        "expires_at": rfc3339(int(expires_at * 10**9)),
        "size_vram": on_gpu,
        "context_length": loaded.options.num_ctx,
    }


# -------------------------------------------------------------------- errors


async def _said_no(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, ApiError)
    return JSONResponse({"error": exc.message}, exc.status)


async def _no_disk(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, OSError)
    return JSONResponse({"error": _words(exc)}, 500)


def _words(exc: OSError) -> str:
    """As Go's library says it: the path, then the cause in lower case."""
    cause = (exc.strerror or str(exc)).lower()
    return f"{exc.filename}: {cause}" if exc.filename else cause


async def _no_route(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    texts = {404: "404 page not found", 405: "405 method not allowed"}
    return PlainTextResponse(texts.get(exc.status_code, exc.detail), exc.status_code)


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)
