"""The engine `llama-server`: a GGUF file under llama.cpp directly, with all that it says."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployq import Answer, Health, Json, RawModel
from deployq.tools import find_tool
from deployq_llamacpp import engine

if TYPE_CHECKING:
    from deployq_llamacpp.engine import Serving

TOOL = "llama-server"
# Ollama's options that /completion knows by the same name, or by another.
_SAME = (
    *("temperature", "top_k", "top_p", "min_p", "seed", "stop", "repeat_penalty"),
    *("repeat_last_n", "presence_penalty", "frequency_penalty"),
)
_OTHERS = {"num_predict": "n_predict", "num_keep": "n_keep"}


class LlamaServer:
    """Runs a model with the `llama-server` of this machine, for as long as it is asked."""

    name = TOOL

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._env = env

    def health(self) -> Health:
        """Is there a llama-server?"""
        tool = find_tool(TOOL, self._env)
        if tool is None:
            return Health(
                False, detail=f"{TOOL} is not on this machine", hint="deployq tools install"
            )
        return Health(True, version=tool.version, path=tool.path, detail=f"from {tool.origin}")

    @contextmanager
    def load(self, weights: Path, n_ctx: int) -> Iterator[RawModel]:
        """Start a llama-server with these weights; it is gone after the block.

        Raises:
            ToolMissing: there is none.
            BackendError: it does not load them; with its own last words.
        """
        with (
            tempfile.TemporaryDirectory(prefix="deployq-") as folder,
            engine.serving(weights, n_ctx, Path(folder), self._env) as server,
        ):
            yield _Loaded(server)


class _Loaded:
    """A model that a llama-server has loaded."""

    def __init__(self, server: Serving) -> None:
        self._server = server

    def complete(
        self,
        prompt: str,
        *,
        options: Mapping[str, Json],
        format: Json = None,
        timeout_seconds: float,
    ) -> Answer:
        """Continue a prompt as it is; options are Ollama's.

        Raises:
            BackendError: llama-server refuses, is gone, or takes too long.
        """
        body = completion_body(prompt, options, format)
        return _answered(self._server.ask("/completion", body, timeout_seconds))


def completion_body(prompt: str, options: Mapping[str, Json], format: Json) -> dict[str, Any]:
    """A request to `/completion` that says the same as one to Ollama's `/api/generate`, raw."""
    body: dict[str, Any] = {"prompt": prompt, "n_probs": 1, "cache_prompt": False}
    body |= {name: options[name] for name in _SAME if name in options}
    body |= {theirs: options[ours] for ours, theirs in _OTHERS.items() if ours in options}
    if format == "json":
        body["json_schema"] = {"type": "object"}
    elif isinstance(format, Mapping):
        body["json_schema"] = dict(format)
    return body


def _answered(answer: Mapping[str, Any]) -> Answer:
    """What `/completion` answered, as Ollama would have given it."""
    seconds = answer["timings"]["predicted_ms"] / 1000
    rows = answer.get("completion_probabilities", ())
    return Answer(
        text=answer["content"],
        done_reason="length" if answer["stop_type"] == "limit" else "stop",
        prompt_tokens=int(answer["tokens_evaluated"]),
        tokens=int(answer["tokens_predicted"]),
        eval_seconds=seconds,
        load_seconds=0.0,
        wall_seconds=seconds + answer["timings"]["prompt_ms"] / 1000,
        raw={"logprobs": [{"token": r["token"], "bytes": r.get("bytes") or []} for r in rows]},
    )
