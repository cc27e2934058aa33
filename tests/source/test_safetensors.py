"""Safetensors headers: what is read of true ones, and what lies are named."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployq.errors import SourceError
from deployq.source.safetensors import DTYPE_BYTES, read_tensors, read_weights
from tests.source.hf_files import entries, write_header, write_safetensors, write_shards

TENSORS = {"a.weight": (4, 8), "b.weight": (16,), "c.weight": (2, 3, 4)}
SHAPES = st.lists(st.integers(0, 9), max_size=4).map(tuple)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    tensors=st.dictionaries(
        st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__"), SHAPES
    ),
    dtype=st.sampled_from(sorted(DTYPE_BYTES)),
)
def test_what_was_written_is_read(
    tmp_path: Path, tensors: dict[str, tuple[int, ...]], dtype: str
) -> None:
    found = read_tensors(write_safetensors(tmp_path / "m.safetensors", tensors, dtype))
    assert {t.name: t.shape for t in found} == tensors
    assert all(t.dtype == dtype for t in found)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=200))
def test_any_other_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "m.safetensors"
    file.write_bytes(content)
    if content == b"\x02" + bytes(7) + b"{}":  # the one file of ten bytes that is right
        assert read_tensors(file) == ()
        return
    with pytest.raises(SourceError, match=re.escape(str(file))):
        read_tensors(file)


def test_metadata_is_no_tensor(tmp_path: Path) -> None:
    header = {"__metadata__": {"format": "pt"}, **entries(TENSORS)}
    found = read_tensors(write_header(tmp_path / "m.safetensors", header, 2 * (32 + 16 + 24)))
    assert {tensor.name for tensor in found} == set(TENSORS)


@pytest.mark.parametrize(
    ("lie", "cause"),
    [
        ({"dtype": "F12"}, "type 'F12' does not exist"),
        ({"dtype": 7}, "type 7 does not exist"),
        ({"shape": [4, -8]}, "is no shape"),
        ({"shape": [4, True]}, "is no shape"),
        ({"shape": [1 << 62, 1 << 62]}, "is no shape"),
        ({"shape": [4, 9]}, "takes 72 bytes, 64 are claimed"),
        ({"data_offsets": [64, 0]}, "is no place for data"),
        ({"data_offsets": [0]}, "is no place for data"),
        ({"data_offsets": [2, 66]}, "begins at 2, not at 0"),
    ],
)
def test_lies_are_named(tmp_path: Path, lie: dict[str, Any], cause: str) -> None:
    header = entries({"a.weight": (4, 8)})
    header["a.weight"] |= lie
    with pytest.raises(SourceError, match=cause) as caught:
        read_tensors(write_header(tmp_path / "m.safetensors", header, 64))
    assert "'a.weight'" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("data_bytes", [63, 65])
def test_data_that_is_cut_or_too_long(tmp_path: Path, data_bytes: int) -> None:
    file = write_header(tmp_path / "m.safetensors", entries({"a": (4, 8)}), data_bytes)
    with pytest.raises(SourceError, match=f"64 bytes of data, the file has {data_bytes}"):
        read_tensors(file)


def test_tensors_that_overlap(tmp_path: Path) -> None:
    header = entries({"a": (4, 8), "b": (4, 8)})
    header["b"]["data_offsets"] = [32, 96]
    with pytest.raises(SourceError, match="tensor 'b': its data begins at 32, not at 64"):
        read_tensors(write_header(tmp_path / "m.safetensors", header, 96))


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"short", "no safetensors file"),
        (b"\xff" * 8 + b"{}", "claims a header of 18446744073709551615"),
        (b"\x40" + bytes(7) + b"{}", "claims a header of 64 bytes"),
        (b"\x02" + bytes(7) + b"[]", "no JSON object"),
        (b"\x02" + bytes(7) + b"{x", "no JSON"),
    ],
)
def test_what_is_no_header(tmp_path: Path, content: bytes, cause: str) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(SourceError, match=cause):
        read_tensors(tmp_path / "m.safetensors")


def test_a_name_twice(tmp_path: Path) -> None:
    one = b'{"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}'
    file = write_header(tmp_path / "m.safetensors", b'{"a": ' + one + b', "a": ' + one + b"}", 4)
    with pytest.raises(SourceError, match="has 'a' twice"):
        read_tensors(file)


# ---------------------------------------------------------------- shards


def test_shards_are_read_as_one(tmp_path: Path) -> None:
    weights = read_weights(write_shards(tmp_path, TENSORS))
    assert {tensor.name: tensor.shape for tensor in weights.tensors} == TENSORS
    assert len(weights.files) == 2
    assert weights.file_bytes == sum(file.stat().st_size for file in weights.files)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, TENSORS)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(SourceError, match=r"shard model-00002-of-00002\.safetensors is missing"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"a.weight": "model-00002-of-00002.safetensors"}, "'a.weight' should be in model-00002"),
        ({"z.weight": "model-00001-of-00002.safetensors"}, "'z.weight' .* it is in no shard"),
        ({"a.weight": "../elsewhere.safetensors"}, "is no file of this folder"),
        ({"a.weight": 3}, "weight_map.a.weight is 3, and not a text"),
    ],
)
def test_an_index_that_lies(tmp_path: Path, change: dict[str, Any], cause: str) -> None:
    index = write_shards(tmp_path, TENSORS) / "model.safetensors.index.json"
    names = json.loads(index.read_text())["weight_map"] | change
    index.write_text(json.dumps({"weight_map": names}))
    with pytest.raises(SourceError, match=cause):
        read_weights(tmp_path)


def test_a_tensor_that_the_index_does_not_know(tmp_path: Path) -> None:
    index = write_shards(tmp_path, TENSORS) / "model.safetensors.index.json"
    names = json.loads(index.read_text())["weight_map"]
    del names["c.weight"]
    index.write_text(json.dumps({"weight_map": names}))
    with pytest.raises(SourceError, match=r"does not know of 'c\.weight'"):
        read_weights(tmp_path)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"neither model\.safetensors nor") as caught:
        read_weights(tmp_path)
    assert "safe_serialization" in caught.value.hint
