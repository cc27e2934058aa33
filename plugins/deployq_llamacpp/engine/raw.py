"""Raw completions of a loaded model, with all that llama-server says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployq import Answer, Json
from deployq.llama_server import Serving

# Ollama's options that /completion knows by the same name, or by another.
_SAME = (
    *("temperature", "top_k", "top_p", "min_p", "seed", "stop", "repeat_penalty"),
    *("repeat_last_n", "presence_penalty", "frequency_penalty"),
)
_OTHERS = {"num_predict": "n_predict", "num_keep": "n_keep"}


class Loaded:
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
        return answered(self._server.ask("/completion", body, timeout_seconds))


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


def answered(answer: Mapping[str, Any]) -> Answer:
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
        raw={
            "logprobs": [
                {"token": r["token"], "bytes": r.get("bytes") or [], "id": r.get("id")}
                for r in rows
            ]
        },
    )
