"""JSON as Go writes it, so that a layer has the same digest whoever wrote it."""

from __future__ import annotations

import json
from typing import Any


def go_json(value: Any) -> bytes:
    """Compact, `<`, `>` and `&` escaped, whole floats as integers, a newline at the end.

    The caller orders the keys: Go sorts those of a map and keeps those of a struct.
    """
    text = json.dumps(_whole(value), ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.encode() + b"\n"


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(item) for item in value]
    return value
