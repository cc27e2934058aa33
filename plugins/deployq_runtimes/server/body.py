"""Request bodies: JSON with the types that Ollama expects, and its own words where they differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deployq_runtimes.server.errors import ApiError

STRING, BOOL, INT, ANY = "string", "bool", "int", "any"
OPTIONS = "map[string]interface {}"
TEXTS = "map[string]string"
MESSAGES = "[]api.Message"
TOKENS = "[]int"


@dataclass(frozen=True)
class Shape:
    """The fields of one request that are checked; others pass unread.

    `struct` and `whole` are the names of Go's types, which stand in its error texts.
    """

    struct: str
    fields: Mapping[str, str]
    whole: str = ""
    items: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


_MESSAGE = {"role": STRING, "content": STRING, "thinking": STRING}
_RUN = {
    "model": STRING,
    "stream": BOOL,
    "options": OPTIONS,
    "logprobs": BOOL,
    "top_logprobs": INT,
    "truncate": BOOL,
    "shift": BOOL,
    "_debug_render_only": BOOL,
}
GENERATE = Shape(
    ".GenerateRequest",
    {
        **_RUN,
        "prompt": STRING,
        "suffix": STRING,
        "system": STRING,
        "template": STRING,
        "context": TOKENS,
        "raw": BOOL,
    },
    'struct { *api.GenerateRequest; Think json.RawMessage "json:\\"think\\"" }',
)
CHAT = Shape(
    ".ChatRequest",
    {**_RUN, "messages": MESSAGES},
    'struct { *api.ChatRequest; Think json.RawMessage "json:\\"think\\"" }',
    {"messages": _MESSAGE},
)
CREATE = Shape(
    "CreateRequest",
    {
        "model": STRING,
        "name": STRING,
        "stream": BOOL,
        "from": STRING,
        "files": TEXTS,
        "adapters": TEXTS,
        "template": STRING,
        "system": STRING,
        "parameters": OPTIONS,
        "messages": MESSAGES,
        "quantize": STRING,
        "quantization": STRING,
        "renderer": STRING,
        "parser": STRING,
        "requires": STRING,
    },
    "api.CreateRequest",
    {"messages": _MESSAGE},
)
SHOW = Shape(
    "ShowRequest",
    {"model": STRING, "name": STRING, "system": STRING, "verbose": BOOL, "options": OPTIONS},
    "api.ShowRequest",
)
COPY = Shape("CopyRequest", {"source": STRING, "destination": STRING}, "api.CopyRequest")
DELETE = Shape("DeleteRequest", {"model": STRING, "name": STRING}, "api.DeleteRequest")


def decode(raw: bytes, shape: Shape) -> dict[str, Any]:
    """The body as a dict, every known field of the right type; nulls are left out.

    Raises:
        ApiError: 400, in the words that Ollama would use.
    """
    value = _parse(raw)
    if not isinstance(value, dict):
        raise _mismatch(value, f"value of type {shape.whole}")
    for name, kind in shape.fields.items():
        _check(value.get(name), kind, f"struct field {shape.struct}.{name}")
    for name, fields in shape.items.items():
        if items := value.get(name):
            value[name] = [item or {} for item in items]  # to Go, null is an empty struct
        for item in value.get(name) or ():
            for key, kind in fields.items():
                _check(item.get(key), kind, f"struct field {shape.struct}.{name}.{key}")
    return {name: item for name, item in value.items() if item is not None}


def _parse(raw: bytes) -> Any:
    text = raw.decode("utf-8", "replace").lstrip()
    if not text:
        raise ApiError(400, "missing request body")
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except RecursionError as exc:
        raise ApiError(400, "exceeded max depth") from exc
    except json.JSONDecodeError as exc:
        rest = text[exc.pos :].lstrip()
        if not rest or exc.msg.startswith(("Unterminated", "Invalid \\uXXXX")):
            raise ApiError(400, "unexpected EOF") from exc
        raise ApiError(400, f"invalid character {rest[0]!r} in JSON: {exc.msg}") from exc


def _check(value: Any, kind: str, place: str) -> None:
    if value is None or kind == ANY:
        return
    if kind == INT and isinstance(value, float):
        raise ApiError(400, f"json: cannot unmarshal number {value} into Go {place} of type {kind}")
    if _json_kind(value) != _EXPECTED[kind]:
        raise _mismatch(value, f"{place} of type {kind}")
    if kind in _ITEMS:
        item_kind, item_type = _ITEMS[kind]
        for item in value.values() if isinstance(value, dict) else value:
            if item is not None and _json_kind(item) != item_kind:
                raise _mismatch(item, f"{place} of type {item_type}")


_EXPECTED = {
    STRING: "string",
    BOOL: "bool",
    INT: "number",
    OPTIONS: "object",
    TEXTS: "object",
    MESSAGES: "array",
    TOKENS: "array",
}
_ITEMS = {
    TEXTS: ("string", "string"),
    MESSAGES: ("object", "api.Message"),
    TOKENS: ("number", "int"),
}


def _mismatch(value: Any, target: str) -> ApiError:
    return ApiError(400, f"json: cannot unmarshal {_json_kind(value)} into Go {target}")


def _json_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"
