"""What a server's answers say, as records. Nonsense in an answer is a ValueError."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, TypeVar

from deployq.records import dataclass
from deployq.tags.names import STAGING, TagName, is_marker, same_name
from deployq.tags.parameters import Value
from deployq.types import Answer, Piece, TokenStep

T = TypeVar("T")

NANOSECONDS = 1e9
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
    if not isinstance(value, kind):
        raise ValueError(f"it has no {key!r}" if value is None else f"its {key!r} is {value!r}")
    return value


def tag(model: Any) -> TagRecord:
    """Read one entry of `/api/tags`."""
    details = model.get("details") or {}
    return TagRecord(
        name=expect(model, "name", str),
        size_bytes=expect(model, "size", int),
        digest=expect(model, "digest", str),
        modified=str(model.get("modified_at") or ""),
        quant=str(details.get("quantization_level") or ""),
        family=str(details.get("family") or ""),
        parameter_size=str(details.get("parameter_size") or ""),
        file_name=str(details.get("parent_model") or ""),
    )


def loaded(model: Any) -> Loaded:
    """Read one entry of `/api/ps`."""
    return Loaded(
        name=expect(model, "name", str),
        size_bytes=expect(model, "size", int),
        vram_bytes=int(model.get("size_vram") or 0),
        n_ctx=model.get("context_length"),
        digest=str(model.get("digest") or ""),
        expires=str(model.get("expires_at") or ""),
    )


def shown(answer: Any) -> Shown:
    """Read the answer of `/api/show`."""
    modelfile = expect(answer, "modelfile", str)
    weights = _FROM_BLOB.search(modelfile)
    return Shown(
        modelfile=modelfile,
        template=str(answer.get("template") or ""),
        system=str(answer.get("system") or ""),
        parameters=shown_parameters(str(answer.get("parameters") or "")),
        blob_digest=weights.group(1) if weights else "",
        license=str(answer.get("license") or ""),
        messages=tuple(
            (expect(m, "role", str), expect(m, "content", str))
            for m in answer.get("messages") or ()
        ),
        details=expect(answer, "details", dict),
        capabilities=tuple(map(str, answer.get("capabilities") or ())),
        requires=str(answer.get("requires") or ""),
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
    if answer.get("done") is not True:
        raise ValueError("it is not done")
    return Answer(
        text=text,
        thinking=thinking,
        done_reason=str(answer.get("done_reason") or ""),
        prompt_tokens=int(answer.get("prompt_eval_count") or 0),
        tokens=int(answer.get("eval_count") or 0),
        eval_seconds=(answer.get("eval_duration") or 0) / NANOSECONDS,
        load_seconds=(answer.get("load_duration") or 0) / NANOSECONDS,
        wall_seconds=wall_seconds,
        raw=answer,
    )


def piece(line: Any) -> Piece:
    """Read one line of a streamed generation with log probabilities."""
    done = line.get("done") is True
    return Piece(
        text=expect(line, "response", str),
        steps=tuple(_step(token) for token in line.get("logprobs") or ()),
        done_reason=str(line.get("done_reason") or "unknown") if done else "",
        prompt_tokens=int(line.get("prompt_eval_count") or 0),
        cached_tokens=line.get("prompt_eval_cached_count"),
        tokens=int(line.get("eval_count") or 0),
        eval_seconds=(line.get("eval_duration") or 0) / NANOSECONDS,
        load_seconds=(line.get("load_duration") or 0) / NANOSECONDS,
    )


def _step(token: Any) -> TokenStep:
    top = tuple(
        (expect(other, "token", str), _logprob(other)) for other in token.get("top_logprobs") or ()
    )
    return TokenStep(expect(token, "token", str), _logprob(token), top)


def _logprob(token: Any) -> float:
    value = token.get("logprob")
    if not isinstance(value, int | float):
        raise ValueError(f"its log probability is {value!r}")
    return float(value)


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
    except (ValueError, SyntaxError):
        return text
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, str | int | float) else text
