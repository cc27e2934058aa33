"""The one reader of values that others wrote: trainers, hubs, servers.

Whoever wants such a value says of which type it is and within which bounds. It comes out like that,
or as a refusal that names the file (or the answer), the key, what is there and what was expected.
A key that is missing or null has no value: None, or nothing in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from deployq.errors import SourceError
from deployq.files import open_regular
from deployq.records import dataclass

MAX_COUNT = (1 << 31) - 1
"""The largest figure of a model or id of a token: llama.cpp keeps them in 32 bits, with a sign."""

MAX_LAYERS = 1024
"""Twice what llama.cpp b11434 takes (LLAMA_MAX_LAYERS)."""

MAX_JSON_BYTES = 256 << 20  # the largest tokenizer.json have some 40 MB
_SHOWN, _PLACE = 60, 100  # characters
_LFS = b"version https://git-lfs.github.com/spec/"
_HINT = "set it right in the file, or save the folder again"


@dataclass(frozen=True)
class ForeignObject:
    """A JSON object; `path` is where in its file it is ("text_config."), for messages.

    `refuse` makes the error of a value that is something else.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    refuse: Callable[[str], Exception] = ValueError
    path: str = ""

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def integer(self, key: str, low: int = 0, high: int = MAX_COUNT) -> int | None:
        """A whole number; JSON writers make 256.0 of 256, too."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(key, f"a whole number from {low} to {high}")
        return value

    def integers(self, key: str, low: int = 0, high: int = MAX_COUNT) -> tuple[int, ...]:
        """One whole number, or a list of them."""
        value = self.values.get(key)
        if not isinstance(value, list):
            one = self.integer(key, low, high)
            return () if one is None else (one,)
        if not all(type(n) is int and low <= n <= high for n in value):
            raise self.wrong(key, f"whole numbers from {low} to {high}")
        return tuple(value)

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float | None:
        """A number that is finite."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.wrong(key, "a number")
        if not low <= value <= high or not _is_finite(value):
            bounds = "" if low == -high else f" from {low:g} to {high:g}"
            raise self.wrong(key, f"a finite number{bounds}")
        return float(value)

    def flag(self, key: str) -> bool:
        """True or false; false where it is missing."""
        value = self.values.get(key)
        if not isinstance(value, bool | None):
            raise self.wrong(key, "true or false")
        return bool(value)

    def text(self, key: str) -> str:
        """A text; empty where it is missing."""
        value = self.values.get(key)
        if not (value is None or is_text(value)):
            raise self.wrong(key, "a text")
        return value or ""

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self._list(key, "a list of texts")
        if not all(map(is_text, value)):
            raise self.wrong(key, "a list of texts")
        return tuple(value)

    def child(self, key: str) -> ForeignObject:
        """An object; empty where it is missing."""
        value = self.values.get(key)
        if not isinstance(value, dict | None):
            raise self.wrong(key, "an object")
        return ForeignObject(value or {}, self.refuse, f"{self.path}{key}.")

    def children(self, key: str) -> Iterator[ForeignObject]:
        """A list of objects."""
        value = self._list(key, "a list of objects")
        if not all(isinstance(one, dict) for one in value):
            raise self.wrong(key, "a list of objects")
        for number, one in enumerate(value):
            yield ForeignObject(one, self.refuse, f"{self.path}{key}[{number}].")

    def ids(self, key: str) -> dict[str, int]:
        """An object that maps texts to ids, such as a vocabulary."""
        return self.child(key).as_ids()

    def as_ids(self) -> dict[str, int]:
        """All of this object, as texts and their ids."""
        for key, value in self.values.items():  # a quarter of a million: no call for each
            if type(value) is not int or not 0 <= value <= MAX_COUNT:
                raise self.wrong(key, f"a whole number from 0 to {MAX_COUNT}")
        return dict(self.values)

    def as_texts(self) -> dict[str, str]:
        """All of this object, as texts by their keys."""
        for key, value in self.values.items():
            if not is_text(value):
                raise self.wrong(key, "a text")
        return dict(self.values)

    def wrong(self, key: str, expected: str) -> Exception:
        """The error of a value that is not what was expected."""
        place = ascii(self.path + key)[1:-1]
        place = place if len(place) <= _PLACE else f"{place[:_PLACE]}..."
        return self.refuse(f"{place} is {describe(self.values.get(key))}, and not {expected}")

    def _list(self, key: str, expected: str) -> list[Any]:
        value = self.values.get(key)
        if not isinstance(value, list | None):
            raise self.wrong(key, expected)
        return value or []


def read_object(file: Path) -> ForeignObject:
    """A JSON file that holds an object; an empty one where there is no such file.

    Raises:
        SourceError: it can't be read, or is something else.
    """

    def refuse(words: str) -> SourceError:
        return SourceError(f"{file}: {words}", hint=_HINT)

    if not (file.exists() or file.is_symlink()):
        return ForeignObject(refuse=refuse)
    value = parse_json(file, read_bytes(file, MAX_JSON_BYTES))
    if not isinstance(value, dict):
        raise refuse(f"holds {describe(value)}, not a JSON object")
    return ForeignObject(value, refuse)


def read_bytes(file: Path, most_bytes: int) -> bytes:
    """The content of a file that is expected to be small.

    Raises:
        SourceError: it can't be read, is no file, or is longer.
    """
    try:
        with open_regular(file) as stream:
            content = stream.read(most_bytes + 1)
    except OSError as exc:
        raise SourceError(f"{file}: can't be read: {exc.strerror or exc}") from exc
    if len(content) > most_bytes:
        raise SourceError(f"{file}: is longer than {most_bytes >> 20} MiB, as no real one is")
    return content


def parse_json(file: Path, content: bytes) -> Any:
    """The value of a JSON text, as transformers and llama.cpp's converter would read it.

    Raises:
        SourceError: they would not: it is no JSON, no UTF-8, or nested too deep.
    """
    try:
        return json.loads(content.decode())
    except (ValueError, RecursionError) as exc:
        raise _no_json(file, content, exc) from exc


def _no_json(file: Path, content: bytes, exc: Exception) -> SourceError:
    what, hint = f"is no JSON: {exc}", _HINT
    if not content.strip():
        what, hint = "is empty", "it was cut, or is still being written: save the folder again"
    elif content.startswith(_LFS):
        what, hint = "is the pointer of a file in Git LFS, not the file itself", "git lfs pull"
    elif content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        what, hint = "begins with a byte order mark (BOM)", "save it as UTF-8 without one"
    elif isinstance(exc, UnicodeDecodeError):
        what, hint = f"is no UTF-8 text (byte {exc.start})", "save it as UTF-8"
    elif isinstance(exc, RecursionError):
        what = "is nested deeper than any real one"
    elif "integer string conversion" in str(exc):
        what = "holds a whole number of thousands of digits"
    return SourceError(f"{file}: {what}", hint=hint)


def is_text(value: object) -> bool:
    """Whether a value is a text that can be written: JSON can hold halves of characters."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def describe(value: object) -> str:
    """A foreign value for a message: cut, and in characters that every terminal has."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None:
        return "null"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"a whole number of {value.bit_length()} bits"
    shown = json.dumps(value) if not isinstance(value, bytes) else ascii(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False
