"""`/api/generate` and `/api/chat`: one request each, from its fields to its lines."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from deployq_runtimes.server.answers import (
    Clock,
    Piece,
    done_reason,
    format_fields,
    head,
    pieces,
)
from deployq_runtimes.server.engine import Engine
from deployq_runtimes.server.errors import ApiError, not_here
from deployq_runtimes.server.model import Model
from deployq_runtimes.server.options import Options, keep_alive_seconds, merge
from deployq_runtimes.server.pool import Pool
from deployq_runtimes.server.prompt import fit, render, tool_fields
from deployq_runtimes.server.thinking import OPEN, ThinkSplitter

_LEVELS = ("low", "medium", "high", "max")


class Run:
    """What generate and chat have in common: checks, options, loading, the engine's pieces."""

    def __init__(self, pool: Pool, model: Model, request: Mapping[str, Any]) -> None:
        self.pool = pool
        self.model = model
        self.request = request
        self.asked = str(request.get("model", ""))
        self.clock = Clock()
        self.keep_seconds = keep_alive_seconds(request.get("keep_alive"))
        self.think = self._think()

    def prepare(self) -> None:
        """Raises ApiError for what can be told before a model is loaded."""
        options = self.request.get("options", {})
        if options.get("typical_p") is not None:
            raise ApiError(400, "typical_p is no longer supported")
        self.model.check_runnable()
        trained = self.model.info.n_ctx_train
        self.options: Options = merge(self.model.parameters, options, trained_ctx=trained)
        self.format = format_fields(self.request.get("format"))

    def _think(self) -> bool | str | None:
        """What is asked for; a model that can think does so unless told not to."""
        think = self.request.get("think")
        if think is not None and not isinstance(think, bool | str):
            raise ApiError(400, "think must be a boolean or string")
        if isinstance(think, str) and think not in _LEVELS:
            levels = '"high", "medium", "low", "max", true, or false'
            raise ApiError(400, f'invalid think value: "{think}" (must be {levels})')
        if "thinking" in self.model.capabilities:
            return True if think is None else think
        if think:
            raise ApiError(400, f'"{self.asked}" does not support thinking')
        return think

    @contextlib.asynccontextmanager
    async def engine(self) -> AsyncIterator[Engine]:
        """The loaded model, inside the block."""
        async with self.pool.use(self.model, self.options, self.keep_seconds) as loaded:
            self.clock.mark_loaded()
            yield loaded.engine

    async def load(self) -> None:
        """Only load the model."""
        async with self.engine():
            pass

    async def answer(self, engine: Engine, prompt: str) -> AsyncGenerator[Piece, None]:
        """The engine's pieces for a prompt; other requests wait their turn."""
        top = self.request.get("top_logprobs", 0) if self.request.get("logprobs") else None
        async with engine.turn:
            sent: str | list[int] = prompt
            if self.request.get("truncate", True):
                bos = self.model.info.metadata.get("tokenizer.ggml.add_bos_token") is True
                sent = await fit(engine, prompt, self.options, adds_bos=bos)
            body = {"prompt": sent, **self.options.completion(), **self.format}
            async with contextlib.aclosing(pieces(engine, body, top)) as answer:
                async for piece in answer:
                    yield piece

    async def rendered(self, engine: Engine, messages: list[Mapping[str, Any]]) -> str:
        truncate = self.request.get("truncate", True)
        return await render(
            engine,
            messages,
            self.think,
            tools=self.request.get("tools") or (),
            truncate=truncate,
            n_ctx=self.options.num_ctx,
        )

    def splitter(self, prompt: str) -> ThinkSplitter | None:
        """None where thoughts are not asked for."""
        return ThinkSplitter(inside=prompt.rstrip().endswith(OPEN)) if self.think else None


class Generate(Run):
    """`/api/generate`."""

    @property
    def is_load(self) -> bool:
        return not self.request.get("prompt")

    def prepare(self) -> None:
        request = self.request
        if request.get("raw") and any(request.get(k) for k in ("template", "system", "context")):
            raise ApiError(400, "raw mode does not support template, system, or context")
        if request.get("suffix"):
            raise ApiError(400, f"{self.model.name.full} does not support insert")
        for key, what in (("template", "a Go template in a request"), ("images", "images")):
            if request.get(key):
                raise not_here(what)
        if not (request.get("raw") or self.is_load):
            self.model.check_template()
        super().prepare()

    def simple(self, reason: str) -> dict[str, Any]:
        """The answer to a request with no prompt: `load` or `unload`."""
        return head(self.asked) | {"response": "", "done": True, "done_reason": reason}

    async def lines(self) -> AsyncGenerator[dict[str, Any], None]:
        """The answer, line by line, the last one with the counts."""
        async with self.engine() as engine:
            prompt = await self._prompt(engine)
            if self.request.get("_debug_render_only"):
                yield head(self.asked) | _rendered(prompt, {"response": ""})
                return
            splitter = None if self.request.get("raw") else self.splitter(prompt)
            said = ""
            async for piece in self.answer(engine, prompt):
                said += piece.text
                line = head(self.asked) | _split(piece, splitter, "response")
                if piece.final is not None:
                    line |= {"done": True, "done_reason": done_reason(piece.final)}
                    if not self.request.get("raw"):
                        line["context"] = await engine.tokenize(prompt + said)
                    line |= self.clock.counts(piece.final)
                yield line | ({"logprobs": piece.logprobs} if piece.logprobs else {})

    async def _prompt(self, engine: Engine) -> str:
        prompt = str(self.request["prompt"])
        if self.request.get("raw"):
            return prompt
        context = self.request.get("context")
        before = await engine.detokenize(context) if context else ""
        if not self.model.info.chat_template:
            return before + prompt
        system = self.request.get("system") or self.model.system
        messages: list[Mapping[str, Any]] = (
            [{"role": "system", "content": system}] if system else []
        )
        messages += self.model.messages if context is None else ()
        messages.append({"role": "user", "content": prompt})
        return before + await self.rendered(engine, messages)


class Chat(Run):
    """`/api/chat`."""

    @property
    def is_load(self) -> bool:
        return not self.request.get("messages")

    def prepare(self) -> None:
        if self.request.get("tools"):
            if "tools" not in self.model.capabilities:
                raise ApiError(400, f"{self.model.name.full} does not support tools")
            # A prompt can be rendered with them; answers in which tools are called can't be read.
            if not self.request.get("_debug_render_only"):
                raise not_here("tools")
        if any(message.get("images") for message in self.request.get("messages", ())):
            raise not_here("images")
        if not self.is_load:
            self.model.check_template()
        super().prepare()

    def simple(self, reason: str) -> dict[str, Any]:
        """The answer to a request with no messages: `load` or `unload`."""
        message = {"role": "assistant", "content": ""}
        return head(self.asked) | {"message": message, "done": True, "done_reason": reason}

    async def lines(self) -> AsyncGenerator[dict[str, Any], None]:
        """The answer, line by line, the last one with the counts."""
        async with self.engine() as engine:
            prompt = await self.rendered(engine, self._messages())
            if self.request.get("_debug_render_only"):
                empty = {"message": {"role": "", "content": ""}}
                yield head(self.asked) | _rendered(prompt, empty)
                return
            splitter = self.splitter(prompt)
            async for piece in self.answer(engine, prompt):
                split = _split(piece, splitter, "content")
                done = split.pop("done")
                line = head(self.asked) | {"message": {"role": "assistant", **split}, "done": done}
                if piece.final is not None:
                    line |= {"done": True, "done_reason": done_reason(piece.final)}
                    line |= self.clock.counts(piece.final)
                yield line | ({"logprobs": piece.logprobs} if piece.logprobs else {})

    def _messages(self) -> list[Mapping[str, Any]]:
        """The model's own system text and messages, then those of the request."""
        asked = [
            {"role": str(m.get("role") or "").lower(), "content": m.get("content") or ""}
            | tool_fields(m)
            for m in self.request["messages"]
        ]
        messages: list[Mapping[str, Any]] = [*self.model.messages, *asked]
        if self.model.system and asked[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": self.model.system})
        return messages


def _rendered(prompt: str, empty: Mapping[str, Any]) -> dict[str, Any]:
    return {**empty, "done": False, "_debug_info": {"rendered_template": prompt}}


def _split(piece: Piece, splitter: ThinkSplitter | None, key: str) -> dict[str, Any]:
    """The text of a line, thoughts apart."""
    if splitter is None:
        return {key: piece.text, "done": False}
    thinking, content = splitter.feed(piece.text, last=piece.final is not None)
    return {key: content, **({"thinking": thinking} if thinking else {}), "done": False}
