"""From messages to the prompt that llama-server gets, cut to the context as Ollama cuts it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from deployq_runtimes.server.engine import Engine
from deployq_runtimes.server.options import Options

Messages = Sequence[Mapping[str, Any]]


async def render(
    engine: Engine,
    messages: Messages,
    think: bool | str | None,
    *,
    tools: Sequence[Any] = (),
    truncate: bool,
    n_ctx: int,
) -> str:
    """The model's own Jinja template over the messages.

    With `truncate`, the oldest messages but the system's are left out until the rest fits.
    """
    arguments = _template_arguments(think) | ({"tools": list(tools)} if tools else {})
    start = 0
    while True:
        kept = [m for m in messages[:start] if m["role"] == "system"] + list(messages[start:])
        prompt = await engine.render({"messages": kept} | arguments)
        # A token has one byte at least: most prompts need no counting.
        fits = len(prompt.encode()) <= n_ctx or len(await engine.tokenize(prompt)) <= n_ctx
        if fits or not truncate or start + 1 >= len(messages):
            return prompt
        start += 1


def tool_fields(message: Mapping[str, Any]) -> dict[str, Any]:
    """What a message says of tools, as llama-server takes it: arguments as JSON text."""
    fields: dict[str, Any] = {}
    if calls := message.get("tool_calls"):
        fields["tool_calls"] = [_call(call) for call in calls]
    for ours, theirs in (("tool_name", "name"), ("tool_call_id", "tool_call_id")):
        if message.get(ours):
            fields[theirs] = message[ours]
    return fields


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    arguments = json.dumps(function.get("arguments") or {}, ensure_ascii=False)
    named = {"name": function.get("name", ""), "arguments": arguments}
    return {"type": "function", "id": call.get("id", ""), "function": named}


def _template_arguments(think: bool | str | None) -> dict[str, Any]:
    if think is None:
        return {}
    arguments: dict[str, Any] = {"enable_thinking": bool(think)}
    if isinstance(think, str):
        arguments["reasoning_effort"] = think
    return {"chat_template_kwargs": arguments}


async def fit(engine: Engine, prompt: str, options: Options, *, adds_bos: bool) -> str | list[int]:
    """The prompt, its middle cut out if it is longer than the context.

    `num_keep` tokens stay at the beginning, and about half of what is left is freed for the
    answer (llm/llama_server.go, completionPromptForRequest).
    """
    n_ctx = options.num_ctx
    if len(prompt.encode()) < n_ctx:
        return prompt
    tokens = await engine.tokenize(prompt)
    if len(tokens) <= n_ctx - 1:
        return prompt
    keep = options.num_keep if options.num_keep >= 0 else len(tokens)
    keep = min(keep + adds_bos, n_ctx - 1)
    limit = n_ctx - max((n_ctx - keep) // 2, 1)
    return tokens[:keep] + tokens[keep + len(tokens) - limit :]
