"""Files of suites: TOML or JSONL, read into tables that JSON could hold."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from deployq import proof
from deployq.errors import SuiteError
from deployq.proof.datasets import dataset_prompts
from deployq.records import dataclass
from deployq.types import Json

_TABLES: Mapping[str, Json] = {"type": "array", "items": {"type": "object"}}


@dataclass(frozen=True)
class Draft:
    """A table of a suite file as it was read; `where` names it in messages."""

    where: str
    content: Mapping[str, Any]


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as exc:
        raise SuiteError(f"cannot read the suite {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise SuiteError(f"{path} is not UTF-8: {exc.reason} at byte {exc.start}") from exc


def _read_toml(path: Path) -> tuple[Draft, list[Draft]]:
    try:
        content = tomllib.loads(_read_text(path))
    except (ValueError, RecursionError) as exc:
        raise SuiteError(f"{path} is not valid TOML: {exc}") from exc
    whole = Draft(str(path), content)
    _refuse_non_json(whole)
    for key in ("prompts", "datasets"):
        tables = content.get(key, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            fault = proof.schema_fault(_TABLES, tables)
            raise SuiteError(f"{path}: {key}: {fault}", hint=f"write each as a [[{key}]] table")
    prompts = list(content.get("prompts", []))
    for number, table in enumerate(content.get("datasets", []), 1):
        prompts += dataset_prompts(path.parent, f"{path}: data set {number}", table)
    return whole, [
        Draft(f"{path}: prompt {table.get('name', f'prompt-{number}')!r}", table)
        for number, table in enumerate(prompts, 1)
    ]


def _read_jsonl(path: Path) -> tuple[Draft, list[Draft]]:
    # Not splitlines(): U+2028 and its like are legal inside a JSON text.
    lines = enumerate(_read_text(path).split("\n"), 1)
    drafts = [_read_line(f"{path}, line {number}", line) for number, line in lines if line.strip()]
    return Draft(str(path), {}), drafts


def _read_line(where: str, line: str) -> Draft:
    try:
        content = json.loads(line, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as exc:
        raise SuiteError(f"{where} is not valid JSON: {exc}") from exc
    if not isinstance(content, dict):
        raise SuiteError(f"{where} is no JSON object, but a prompt is one")
    if isinstance(content.get("name"), str):
        where = f"{where}: prompt {content['name']!r}"
    draft = Draft(where, content)
    _refuse_non_json(draft)
    return draft


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return table


READERS: Mapping[str, Callable[[Path], tuple[Draft, list[Draft]]]] = {
    ".toml": _read_toml,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
}


def _refuse_non_json(draft: Draft) -> None:
    """TOML's dates, NaN and lone surrogates have no place in a request."""
    for path, value in _leaves(draft.content, ""):
        if isinstance(value, str):
            wrong = "a text that is not valid Unicode" if not _encodable(value) else ""
        elif isinstance(value, float):
            wrong = f"{value}, which JSON does not have" if not math.isfinite(value) else ""
        elif value is None or isinstance(value, int):
            wrong = ""
        else:
            wrong = f"a TOML {type(value).__name__} ({value}); write it in quotes"
        if wrong:
            raise SuiteError(f"{draft.where}: {path} is {wrong}")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield path or "a key", key
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, value


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
