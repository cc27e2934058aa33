"""Options of a request and parameters of a model: Ollama's names, types and defaults.

The defaults are those of Ollama 0.34.4 (api/types.go, DefaultOptions); `num_ctx` is 4096, which
Ollama takes on a machine with little GPU memory, and a `num_batch` that nobody gave grows with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from deployq.serving import DEFAULT_BATCH, batch_of_context
from deployq_runtimes.server.errors import ApiError

DEFAULT_KEEP_ALIVE_SECONDS = 300.0
FOREVER = float("inf")
LEAST_CTX = 4
# Generation without a limit ends after that many contexts (llm/llama_server.go).
CONTEXTS_PER_ANSWER = 10


@dataclass(frozen=True)
class Options:
    """What a model is run with; the first block needs a reload when it changes."""

    num_ctx: int = 4096
    num_batch: int = DEFAULT_BATCH
    num_gpu: int = -1
    main_gpu: int | None = None
    use_mmap: bool | None = None
    num_thread: int = 0

    num_keep: int = 4
    seed: int = -1
    num_predict: int = -1
    top_k: int = 40
    top_p: float = 0.9
    min_p: float = 0.0
    typical_p: float = 1.0
    repeat_last_n: int = 64
    temperature: float = 0.8
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()

    @property
    def load(self) -> tuple[Any, ...]:
        """The options that a loaded model can't change."""
        return (
            self.num_ctx,
            self.num_batch,
            self.num_gpu,
            self.main_gpu,
            self.use_mmap,
            self.num_thread,
        )

    def completion(self) -> dict[str, Any]:
        """The body of llama-server's /completion, but for the prompt."""
        return {
            "stream": True,
            "cache_prompt": True,
            "n_keep": self.num_keep,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "min_p": self.min_p,
            "typical_p": self.typical_p,
            "stop": list(self.stop),
            "repeat_penalty": self.repeat_penalty,
            "repeat_last_n": self.repeat_last_n,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
            "seed": self.seed,
            "n_predict": self._limit(),
        }

    def _limit(self) -> int:
        """Tokens at most; 0 and less mean no limit, which still is one of ten contexts."""
        longest = CONTEXTS_PER_ANSWER * self.num_ctx
        return min(self.num_predict, longest) if self.num_predict > 0 else longest


_KINDS = {
    "int": "integer",
    "float": "float32",
    "int | None": "integer",
    "bool | None": "boolean",
    "tuple[str, ...]": "array",
}
_TYPES = {option.name: _KINDS[str(option.type)] for option in fields(Options)}


def merge(*layers: Mapping[str, Any], trained_ctx: int | None = None) -> Options:
    """Options of several layers, the later ones win; unknown names are ignored, as by Ollama.

    Args:
        trained_ctx: the context that the model was trained for; no larger one is used.

    Raises:
        ApiError: 500, a value of the wrong type.
    """
    values: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            if name in _TYPES and value is not None:
                values[name] = _typed(name, value)
    n_ctx = max(values.get("num_ctx", Options.num_ctx), LEAST_CTX)
    values["num_ctx"] = min(n_ctx, trained_ctx) if trained_ctx else n_ctx
    values.setdefault("num_batch", batch_of_context(values["num_ctx"]))
    return Options(**values)


def _typed(name: str, value: Any) -> Any:
    kind = _TYPES[name]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "integer" and number:
        return int(value)
    if kind == "float32" and number:
        return float(value)
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "array" and isinstance(value, list):
        if not all(isinstance(item, str) for item in value):
            raise ApiError(500, f'option "{name}" must be of an array of strings')
        return tuple(value)
    raise ApiError(500, f'option "{name}" must be of type {kind}')


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)", re.ASCII)


def keep_alive_seconds(value: Any) -> float:
    """How long a model stays loaded after an answer: a number of seconds or Go's "1h30m".

    Less than nothing means for ever; None means five minutes.

    Raises:
        ApiError: 400, in Ollama's words.
    """
    if value is None:
        return DEFAULT_KEEP_ALIVE_SECONDS
    if isinstance(value, str):
        seconds = _duration(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        kinds = {bool: "bool", list: "[]interface {}", dict: "map[string]interface {}"}
        raise ApiError(400, f"Unsupported type: '{kinds[type(value)]}'")
    return FOREVER if seconds < 0 else seconds


def _duration(text: str) -> float:
    sign = -1.0 if text.startswith("-") else 1.0
    rest = text.removeprefix("-") if sign < 0 else text.removeprefix("+")
    if rest == "0":
        return 0.0
    seconds = 0.0
    while part := _PART.match(rest):
        number, unit = part.groups()
        if not unit:
            raise ApiError(400, f'time: missing unit in duration "{text}"')
        if unit not in _UNITS:
            raise ApiError(400, f'time: unknown unit "{unit}" in duration "{text}"')
        seconds += float(number) * _UNITS[unit]
        rest = rest[part.end() :]
    if rest or not _PART.match(text.lstrip("+-")):
        raise ApiError(400, f'time: invalid duration "{text}"')
    return sign * seconds
