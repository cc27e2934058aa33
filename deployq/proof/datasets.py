"""Prompts from a data set: JSON lines, and a template that says what of a line goes where.

    [[datasets]]
    file = "questions.jsonl"
    name = "q-{id}"
    user = "{question}"
    check.equals = "{answer.short}"

`{field}` takes a field, `{a.b}` one inside another; a text that is one field alone keeps the
field's type. `{{` and `}}` are braces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deployq.errors import SuiteError

_FIELD = re.compile(r"\{\{|\}\}|\{(?P<path>[^{}]+)\}")
DATASET_KEYS = ("file", "limit")


def dataset_prompts(folder: Path, where: str, table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A prompt's table for every line of a data set.

    Args:
        folder: what `file` is relative to.
        where: names the table in messages.

    Raises:
        SuiteError: the file can't be read, or a line lacks a field.
    """
    if not isinstance(table.get("file"), str):
        raise SuiteError(f"{where} needs a file", hint='file = "questions.jsonl"')
    limit = table.get("limit")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise SuiteError(f"{where}: limit is a number of lines, 1 or more, not {limit!r}")
    path = folder / table["file"]
    template = {key: value for key, value in table.items() if key not in DATASET_KEYS}
    for number, (line, record) in enumerate(_records(path)):
        if number == limit:
            return
        yield {"name": f"{path.stem}-{line}", **fill(template, record, f"{path}, line {line}")}


def _records(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise SuiteError(f"cannot read the data set {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise SuiteError(f"{path} is not UTF-8: {exc.reason} at byte {exc.start}") from exc
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _record(f"{path}, line {number}", line)


def _record(where: str, line: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise SuiteError(f"{where} is not valid JSON: {exc}") from exc
    if not isinstance(record, dict):
        raise SuiteError(f"{where} is no JSON object")
    return record


def fill(template: Any, record: Mapping[str, Any], where: str) -> Any:
    """A template with the fields of a record.

    Raises:
        SuiteError: the record has no such field.
    """
    if isinstance(template, dict):
        return {key: fill(value, record, where) for key, value in template.items()}
    if isinstance(template, list):
        return [fill(value, record, where) for value in template]
    if not isinstance(template, str):
        return template
    whole = _FIELD.fullmatch(template)
    if whole and whole["path"]:
        return _field(record, whole["path"], where)

    def put(match: re.Match[str]) -> str:
        if match["path"] is None:
            return match[0][0]
        value = _field(record, match["path"], where)
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return _FIELD.sub(put, template)


def _field(record: Mapping[str, Any], path: str, where: str) -> Any:
    value: Any = record
    for part in path.strip().split("."):
        if not isinstance(value, Mapping) or part not in value:
            known = ", ".join(map(str, record))
            raise SuiteError(f"{where} has no field {path!r}; it has: {known}")
        value = value[part]
    return value
