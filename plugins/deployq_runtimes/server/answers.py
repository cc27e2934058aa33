"""Generation: what the engine says, turned into Ollama's lines, with its counts and times."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from deployq_runtimes.server.engine import Engine
from deployq_runtimes.server.errors import ApiError
from deployq_runtimes.server.show import rfc3339

MOST_REPEATS = 100

# Any JSON object. It accepts what the grammar of Ollama's own JSON mode accepts, blanks included,
# so that the same model writes the same answer under both.
JSON_GRAMMAR = r"""
root    ::= object
object  ::= "{" ws ( member ( "," ws member )* )? ws "}"
member  ::= string ":" ws value
array   ::= "[" ws ( value ( "," ws value )* )? ws "]"
value   ::= object | array | string | number | literal
literal ::= ( "true" | "false" | "null" ) ws
string  ::= "\"" ( [^"\\\x00-\x1F\x7F] | "\\" ( ["\\/bfnrt] | "u" [0-9a-fA-F]{4} ) )* "\""
number  ::= "-"? [0-9]+ ( "." [0-9]+ )? ( [eE] [-+]? [0-9]+ )?
ws      ::= [ \t\n]*
"""


@dataclass(frozen=True)
class Piece:
    """A bit of an answer; `final` holds the counts on the last one."""

    text: str
    logprobs: list[dict[str, Any]]
    final: Mapping[str, Any] | None = None


def format_fields(value: Any) -> dict[str, Any]:
    """What `format` means to llama-server: a grammar, a JSON schema, or nothing.

    Raises:
        ApiError: 500, neither "json" nor an object.
    """
    if value is None or value == "":
        return {}
    if value == "json":
        return {"grammar": JSON_GRAMMAR}
    if isinstance(value, dict):
        return {"json_schema": value}
    shown = {True: "true", False: "false"}.get(value, value) if isinstance(value, bool) else value
    quoted = f'\\"{value}\\"' if isinstance(value, str) else str(shown).replace(" ", "")
    raise ApiError(
        500, f'invalid format: "{quoted}"; expected "json" or a valid JSON Schema object'
    )


async def pieces(
    engine: Engine, body: dict[str, Any], top_logprobs: int | None
) -> AsyncGenerator[Piece, None]:
    """The answer bit by bit; `top_logprobs` None means no log probabilities at all.

    The values are those before temperature and every other sampler.

    Raises:
        ApiError: llama-server refused or died, or the model says the same word without end.
    """
    if top_logprobs is not None:
        body = body | {"n_probs": max(top_logprobs, 1)}
    last, repeats = "", 0
    async for event in engine.complete(body):
        if "content" not in event:
            raise ApiError(500, str(event.get("error", event)))
        text = event["content"]
        repeats = repeats + 1 if text.strip() == last else 0
        last = text.strip()
        if repeats > MOST_REPEATS:
            raise ApiError(500, "prediction aborted, token repeat limit reached")
        if event["stop"]:
            yield Piece(text, [], event)
            return
        if text:
            yield Piece(text, _logprobs(event, top_logprobs))


def _logprobs(event: Mapping[str, Any], top: int | None) -> list[dict[str, Any]]:
    if top is None:
        return []
    shown = []
    for token in event.get("completion_probabilities", ()):
        row = _token(token)
        if top:
            row["top_logprobs"] = [_token(other) for other in token["top_logprobs"]]
        shown.append(row)
    return shown


def _token(token: Mapping[str, Any]) -> dict[str, Any]:
    row = {"token": token["token"], "logprob": token["logprob"]}
    return row | ({"bytes": list(token["token"].encode())} if token["token"] else {})


class Clock:
    """Ollama's durations in nanoseconds: all of it, and what loading took of it."""

    def __init__(self) -> None:
        self.start = time.perf_counter_ns()
        self.loaded = self.start

    def mark_loaded(self) -> None:
        self.loaded = time.perf_counter_ns()

    def counts(self, final: Mapping[str, Any]) -> dict[str, Any]:
        """The figures of a last line."""
        timings = final["timings"]
        cached = timings.get("cache_n", 0)
        return {
            "total_duration": time.perf_counter_ns() - self.start,
            "load_duration": self.loaded - self.start,
            "prompt_eval_count": cached + timings["prompt_n"],
            "prompt_eval_cached_count": cached,
            "prompt_eval_duration": _nanoseconds(timings["prompt_ms"]),
            "eval_count": timings["predicted_n"],
            "eval_duration": _nanoseconds(timings["predicted_ms"]),
        }


def done_reason(final: Mapping[str, Any]) -> str:
    return "length" if final["stop_type"] == "limit" else "stop"


def head(model: str) -> dict[str, Any]:
    """The beginning of every line: the model as it was asked for, and the time."""
    return {"model": model, "created_at": rfc3339(time.time_ns())}


def _nanoseconds(milliseconds: float) -> int:
    return int(milliseconds * 1_000_000)
