"""The one reader of foreign values: of the asked type and within its bounds, or a refusal."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployq.errors import SourceError
from deployq.foreign_values import ForeignObject, describe, read_object
from tests.nasty import TEXTS, VALUES, raised

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
READERS: dict[str, Callable[[ForeignObject], Any]] = {
    "integer": lambda o: o.integer("key"),
    "integers": lambda o: o.integers("key"),
    "number": lambda o: o.number("key", 0, 1),
    "flag": lambda o: o.flag("key"),
    "text": lambda o: o.text("key"),
    "texts": lambda o: o.texts("key"),
    "child": lambda o: o.child("key").values,
    "children": lambda o: [*o.children("key")],
    "ids": lambda o: o.ids("key"),
}
TYPES: dict[str, tuple[type, ...]] = {
    "integer": (int, type(None)), "integers": (tuple,), "number": (float, type(None)),
    "flag": (bool,), "text": (str,), "texts": (tuple,), "child": (dict,), "children": (list,),
    "ids": (dict,),
}  # fmt: skip


def check(reader: str, value: Any) -> None:
    """The value comes out as the type that the reader is for, or as a refusal."""
    found: list[Any] = []
    refused = raised(
        lambda: found.append(READERS[reader](ForeignObject({"key": value}))), ValueError
    )
    if refused is None:
        assert type(found[0]) in TYPES[reader]
        return
    assert str(refused).startswith("key")
    assert str(refused).isascii()
    assert len(str(refused)) < 250


@pytest.mark.parametrize("reader", READERS)
@given(value=JSON)
def test_any_value_is_of_the_type_or_refused_by_its_key(reader: str, value: Any) -> None:
    check(reader, value)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("value", VALUES, ids=lambda v: ascii(v)[:20])
def test_a_nasty_value_is_of_the_type_or_refused(reader: str, value: Any) -> None:
    check(reader, value)


@pytest.mark.parametrize(
    ("value", "read"),
    [(256.0, 256), (0, 0), (None, None), ((1 << 31) - 1, (1 << 31) - 1)],
)
def test_an_integer(value: Any, read: int | None) -> None:
    found = ForeignObject({"key": value}).integer("key")
    assert found == read
    assert type(found) is type(read)


@pytest.mark.parametrize("value", [True, "8", 0.5, -1, 1 << 31, 1e30, math.nan, math.inf, [], {}])
def test_no_integer(value: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^key is .*, and not a whole number from 0 to 2147483647"
    ):
        ForeignObject({"key": value}).integer("key")


def test_a_refusal_names_file_place_and_what_was_found(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"text_config": {"rope": [{"factor": "two"}]}}')
    (one,) = read_object(file).child("text_config").children("rope")
    with pytest.raises(SourceError) as refused:
        one.number("factor")
    assert refused.value.message == (
        f'{file}: text_config.rope[0].factor is "two", and not a number'
    )
    assert refused.value.hint


def test_no_file_holds_nothing(tmp_path: Path) -> None:
    assert read_object(tmp_path / "absent.json").values == {}


@pytest.mark.parametrize("content", TEXTS, ids=lambda t: ascii(t[:20]))
def test_a_file_of_anything_is_an_object_or_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    refused = raised(lambda: read_object(file), SourceError)
    if refused is None:
        assert isinstance(json.loads(content), dict)
    else:
        assert refused.message.startswith(f"{file}: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"é": 1}'.encode("latin-1"), "no UTF-8"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b'{"a":' + b"[" * 100_000, "nested deeper"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "thousands of digits"),
        (b'"text"', 'holds "text", not a JSON object'),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    with pytest.raises(SourceError, match=said) as refused:
        read_object(file)
    assert refused.value.hint


@given(JSON)
def test_a_description_is_short_and_shown_by_any_terminal(value: Any) -> None:
    assert describe(value).isascii()
    assert len(describe(value)) < 70
