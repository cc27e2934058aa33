"""Places in a JSON document, by path (RFC 9535); apart, as the library takes its time to import."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonpath


def places_at(path: str, document: Any) -> Iterator[tuple[str, Any]]:
    """Every place that a path matches: its own path, and what stands there."""
    for place in jsonpath.finditer(path, document):
        yield place.path, place.obj


def path_mistake(path: str) -> str:
    """What is wrong with a path; "" if nothing is."""
    try:
        jsonpath.compile(path)
    except jsonpath.JSONPathError as exc:
        return str(exc).splitlines()[0]
    return ""
