"""What a server's answers say, as records. Nonsense in an answer is a ValueError."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, TypeVar

from deployq.foreign_values import ForeignObject, describe
from deployq.records import dataclass
from deployq.tags.names import STAGING, TagName, is_marker, same_name
from deployq.tags.parameters import Value
from deployq.types import Answer, Piece, TokenStep

T = TypeVar("T")

NANOSECONDS = 1e9
MAX_BYTES = (1 << 63) - 1  # Go's int64
_FROM_BLOB = re.compile(r"^FROM .*sha256[-:]([0-9a-f]{64})\s*$", re.MULTILINE)


@dataclass(frozen=True)
class TagRecord:
    """One tag as a server lists it.

    `digest` is that of its manifest (hex): equal digests are equal tags in every part.
    `size_bytes` counts all its layers, shared or not. `modified` is ISO 8601.
    """

    name: str
    size_bytes: int
    digest: str
    modified: str = ""
    quant: str = ""
    family: str = ""
    parameter_size: str = ""
    file_name: str = ""


@dataclass(frozen=True)
class Shown:
    """One tag in detail; `blob_digest` (hex) is that of its weights, "" where it isn't told.

    `template` is the effective one: the server may show the model's own there.
    """

    modelfile: str
    template: str
    system: str
    parameters: Mapping[str, Value]
    blob_digest: str
    license: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    requires: str = ""


@dataclass(frozen=True)
class Loaded:
    """A model in memory; `vram_bytes` is the part of `size_bytes` that lies on a GPU."""

    name: str
    size_bytes: int
    vram_bytes: int
    n_ctx: int | None
    digest: str = ""
    expires: str = ""


def find_tag(held: Iterable[TagRecord], name: TagName | str) -> TagRecord | None:
    """The tag of that name among those that a server holds, letter case aside."""
    return next((record for record in held if same_name(record.name, str(name))), None)


def staged_names(held: Iterable[TagRecord], model: str) -> list[str]:
    """The names among them under which pushes try out a model's tags; not their markers."""
    prefix = f"{STAGING}/{model}:".lower()
    return [
        record.name
        for record in held
        if record.name.lower().startswith(prefix) and not is_marker(record.name)
    ]


def expect(answer: Any, key: str, kind: type[T]) -> T:
    """`answer[key]`, if it is of that kind.

    Raises:
        ValueError: the answer is no object, or has no such value.
    """
    if not isinstance(answer, Mapping):
        raise ValueError(f"it is a {type(answer).__name__}, not an object")
    value = answer.get(key)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(
            f"it has no {key!r}" if value is None else f"its {key!r} is {describe(value)}"
        )
    return value


def tag(model: Any) -> TagRecord:
    """Read one entry of `/api/tags`."""
    stated = _object(model)
    details = stated.child("details")
    return TagRecord(
        name=expect(model, "name", str),
        size_bytes=_size(stated),
        digest=expect(model, "digest", str),
        modified=stated.text("modified_at"),
        quant=details.text("quantization_level"),
        family=details.text("family"),
        parameter_size=details.text("parameter_size"),
        file_name=details.text("parent_model"),
    )


def _object(answer: Any) -> ForeignObject:
    if not isinstance(answer, dict):
        raise ValueError(f"it has {describe(answer)} where an object was expected")
    return ForeignObject(answer)


def _size(stated: ForeignObject) -> int:
    if (size := stated.integer("size", 0, MAX_BYTES)) is None:
        raise stated.wrong("size", "a number of bytes")
    return size


def loaded(model: Any) -> Loaded:
    """Read one entry of `/api/ps`."""
    stated = _object(model)
    return Loaded(
        name=expect(model, "name", str),
        size_bytes=_size(stated),
        vram_bytes=stated.integer("size_vram", 0, MAX_BYTES) or 0,
        n_ctx=stated.integer("context_length"),
        digest=stated.text("digest"),
        expires=stated.text("expires_at"),
    )


def shown(answer: Any) -> Shown:
    """Read the answer of `/api/show`."""
    stated, modelfile = _object(answer), expect(answer, "modelfile", str)
    weights = _FROM_BLOB.search(modelfile)
    return Shown(
        modelfile=modelfile,
        template=stated.text("template"),
        system=stated.text("system"),
        parameters=shown_parameters(stated.text("parameters")),
        blob_digest=weights.group(1) if weights else "",
        license="\n".join(_texts(stated, "license")),
        messages=tuple((m.text("role"), m.text("content")) for m in stated.children("messages")),
        details=expect(answer, "details", dict),
        capabilities=stated.texts("capabilities"),
        requires=stated.text("requires"),
    )


def shown_parameters(text: str) -> dict[str, Value]:
    """Read show's `parameters`: one `name   value` a line, values as Go writes literals."""
    found: dict[str, Value] = {}
    for line in text.splitlines():
        name, _, literal = line.partition(" ")
        value = _literal(literal.strip())
        if name == "stop":
            earlier = found.get(name, ())
            found[name] = (*earlier, str(value)) if isinstance(earlier, tuple) else (str(value),)
        elif name:
            found[name] = value
    return found


def answered(answer: Any, text: str, thinking: str, wall_seconds: float) -> Answer:
    """Read the counts of a finished chat or generation; durations come in nanoseconds."""
    stated = _object(answer)
    if not stated.flag("done"):
        raise ValueError("it is not done")
    for list_ in (stated.children("logprobs"), stated.child("message").children("tool_calls")):
        list(list_)  # checks what `raw` is read for
    return Answer(
        text=text,
        thinking=thinking,
        done_reason=stated.text("done_reason"),
        prompt_tokens=stated.integer("prompt_eval_count") or 0,
        tokens=stated.integer("eval_count") or 0,
        eval_seconds=_seconds(stated, "eval_duration"),
        load_seconds=_seconds(stated, "load_duration"),
        wall_seconds=wall_seconds,
        raw=answer,
    )


def piece(line: Any) -> Piece:
    """Read one line of a streamed generation with log probabilities."""
    stated = _object(line)
    return Piece(
        text=expect(line, "response", str),
        steps=tuple(map(_step, stated.children("logprobs"))),
        done_reason=(stated.text("done_reason") or "unknown") if stated.flag("done") else "",
        prompt_tokens=stated.integer("prompt_eval_count") or 0,
        cached_tokens=stated.integer("prompt_eval_cached_count"),
        tokens=stated.integer("eval_count") or 0,
        eval_seconds=_seconds(stated, "eval_duration"),
        load_seconds=_seconds(stated, "load_duration"),
    )


def _step(token: ForeignObject) -> TokenStep:
    top = tuple((_token(one), _logprob(one)) for one in token.children("top_logprobs"))
    return TokenStep(_token(token), _logprob(token), top)


def _token(stated: ForeignObject) -> str:
    return expect(stated.values, "token", str)


def _logprob(stated: ForeignObject) -> float:
    """A log probability; of a token that can't be, one engine says -Infinity, another -1e38."""
    value = stated.values.get("logprob")
    if isinstance(value, float) and value == -math.inf:
        return value
    if (number := stated.number("logprob")) is None:
        raise stated.wrong("logprob", "a log probability")
    return number


def _seconds(stated: ForeignObject, key: str) -> float:
    return (stated.number(key, 0) or 0) / NANOSECONDS


def _texts(stated: ForeignObject, key: str) -> tuple[str, ...]:
    """One text, or a list of them."""
    several = isinstance(stated.values.get(key), list)
    return stated.texts(key) if several else (stated.text(key),)


def same_parameters(sent: Mapping[str, Value], shown: Mapping[str, Value]) -> bool:
    """Whether a server shows every parameter that was sent; it may have added a `stop`."""
    return all(_equal(value, shown.get(name)) for name, value in sent.items())


def _equal(sent: Value, shown: Value | Sequence[str] | None) -> bool:
    if isinstance(sent, float) and isinstance(shown, int | float):
        # Ollama's own command keeps single precision.
        return abs(sent - shown) <= 1e-6 * max(1.0, abs(sent))
    return sent == shown


def _literal(text: str) -> Value:
    if text in ("true", "false"):
        return text == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text  # ast.literal_eval raises the last three on purpose
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, str | int | float) else text
