"""GGUF headers, importance matrices and TOML files of anything: a result or an error of ours.

`DEPLOYQ_TEST_NASTY=1` tries every value instead of a sample.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import tomli_w

from deployq.config import parse_config
from deployq.errors import ArtifactError, DeployqError
from deployq.pipeline.importance import read_matrix
from deployq.plugins import load_plugins
from deployq.proof.baseline import read_baseline
from deployq.proof.suites import load_suite
from deployq.tags.lockfile import Lockfile
from deployq.types import CheckType
from tests import nasty
from tests.conftest import ROOT
from tests.nasty import ARRAY, STRING, Entry

EVERYTHING = bool(os.environ.get("DEPLOYQ_TEST_NASTY"))
FIGURES = (
    "attention.key_length", "attention.value_length", "attention.sliding_window",
    "attention.sliding_window_pattern", "attention.kv_lora_rank", "attention.recurrent_layers",
    "attention.shared_kv_layers", "expert_count", "expert_used_count", "nextn_predict_layers",
    "full_attention_interval", "shortconv.l_cache", "ssm.conv_kernel", "ssm.state_size",
    "ssm.inner_size", "ssm.group_count", "attention.key_length_mla", "attention.value_length_mla",
    "pooling_type",
)  # fmt: skip
COUNTS = (0, 1, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 62, 1 << 63, (1 << 64) - 1)
MACHINE = ("--memory", "24GB", "--kind", "vram", "--context", "512")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DEPLOYQ_LLAMA_CPP", "none")


def some(cases: Iterator[Any], share: float) -> Iterator[Any]:
    numbers = random.Random("headers")
    return (case for case in cases if EVERYTHING or numbers.random() < share)


def ends_well(file: Path) -> list[DeployqError]:
    ended = (
        nasty.outcome("inspect", str(file), "--json"),
        nasty.outcome("plan", str(file), *MACHINE),
    )
    errors = [error for error in ended if error is not None]
    for error in errors:
        assert str(file) in error.message or "fit" in error.message, error.message
    return errors


def packed(entries: dict[str, Entry]) -> list[bytes]:
    return [nasty.pack_entry(key, value) for key, value in entries.items()]


def test_the_header_itself_is_right(tmp_path: Path) -> None:
    entries, shapes = nasty.llama_parts()
    tensors, size = nasty.llama_tensors(shapes)
    file = nasty.write_gguf(tmp_path / "m.gguf", packed(entries), tensors, data_bytes=size)
    assert not ends_well(file)


def test_a_header_with_any_value(tmp_path: Path) -> None:
    entries, shapes = nasty.llama_parts()
    tensors, size = nasty.llama_tensors(shapes)
    keys = [*entries, *(f"llama.{key}" for key in FIGURES), "split.count", "split.no"]
    cases = ((key, value) for key in keys for value in nasty.GGUF_VALUES)
    for key, value in some(cases, 0.04):
        parts = packed(entries | {key: value})
        ends_well(nasty.write_gguf(tmp_path / "m.gguf", parts, tensors, data_bytes=size))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("llama.block_count", (4, (1 << 32) - 1)),
        ("llama.block_count", (6, float("nan"))),
        ("llama.attention.head_count", (12, float("inf"))),
        ("llama.attention.head_count_kv", (ARRAY, (5, (2, -2)))),
        ("llama.expert_count", (10, (1 << 64) - 1)),
        ("llama.embedding_length", (STRING, b"64")),
    ],
)
def test_a_figure_that_no_model_has_is_named(tmp_path: Path, key: str, value: Entry) -> None:
    entries, shapes = nasty.llama_parts()
    tensors, size = nasty.llama_tensors(shapes)
    file = nasty.write_gguf(
        tmp_path / "m.gguf", packed(entries | {key: value}), tensors, data_bytes=size
    )
    (error, *_) = ends_well(file)
    assert f"{file}: {key} is " in error.message


def test_a_header_with_any_counts(tmp_path: Path) -> None:
    entries, shapes = nasty.llama_parts()
    tensors, size = nasty.llama_tensors(shapes)
    for counts in some(((a, b) for a in COUNTS for b in COUNTS), 0.3):
        file = nasty.write_gguf(
            tmp_path / "m.gguf", packed(entries), tensors, counts=counts, data_bytes=size
        )
        assert ends_well(file)


def test_tensors_of_any_shape_type_and_place(tmp_path: Path) -> None:
    entries, shapes = nasty.llama_parts()
    tensors, size = nasty.llama_tensors(shapes)
    cases = (
        ("blk.0.attn_norm.weight", shape, kind, offset)
        for count in COUNTS
        for shape in ((), (count,), (count, count), (64, count, 2), (1,) * 5)
        for kind in (0, 2, 99, 1 << 31)
        for offset in (0, 1, count)
    )
    for case in some(cases, 0.04):
        tensors[3] = nasty.pack_tensor(*case)
        ends_well(nasty.write_gguf(tmp_path / "m.gguf", packed(entries), tensors, data_bytes=size))


@pytest.mark.parametrize("shape", [(), (1,), (64, 1, 1), (1, 1, 1, 1), (8, 64, 2)])
def test_a_tensor_of_another_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    entries, shapes = nasty.llama_parts()
    for name in some(iter(shapes), 0.2):
        tensors, size = nasty.llama_tensors(shapes | {name: shape})
        ends_well(nasty.write_gguf(tmp_path / "m.gguf", packed(entries), tensors, data_bytes=size))


def test_a_header_with_bytes_turned(tmp_path: Path) -> None:
    entries, shapes = nasty.llama_parts()
    tensors, size = nasty.llama_tensors(shapes)
    file = tmp_path / "m.gguf"
    whole = nasty.write_gguf(file, packed(entries), tensors, data_bytes=size).read_bytes()
    numbers = random.Random("bytes")
    for _ in range(3000 if EVERYTHING else 60):
        turned = bytearray(whole)
        for _ in range(numbers.choice((1, 2, 4))):
            turned[numbers.randrange(len(whole) - size)] = numbers.choice((0, 255, 127, 8))
        file.write_bytes(turned[: numbers.choice((len(turned), numbers.randrange(len(turned))))])
        ends_well(file)


# ---------------------------------------------------------------- importance matrices

MATRIX: dict[str, Entry] = {
    "general.type": (STRING, b"imatrix"),
    "imatrix.chunk_count": (4, 1),
    "imatrix.chunk_size": (4, 512),
    "imatrix.datasets": (ARRAY, (STRING, (b"a",))),
}
SUMS = (
    [nasty.pack_tensor("x.in_sum2", [32], 0, 0)],
    [nasty.pack_tensor("x.in_sum2", [], 0, 0)],
    [nasty.pack_tensor("x.in_sum2", [32, 2], 0, 0), nasty.pack_tensor("x.counts", [2], 0, 256)],
)


def is_ours(call: Callable[[], object]) -> None:
    """Ends in time, with a result or an error of ours."""
    with nasty.guarded():
        nasty.raised(call, DeployqError)


def test_a_matrix_of_anything(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    cases = ((k, v, sums) for k in MATRIX for v in nasty.GGUF_VALUES for sums in SUMS)
    for key, value, sums in some(cases, 0.3):
        nasty.write_gguf(file, packed(MATRIX | {key: value}), sums, data_bytes=512)
        is_ours(partial(read_matrix, file))
    whole = nasty.write_gguf(file, packed(MATRIX), SUMS[2], data_bytes=512).read_bytes()
    assert read_matrix(file).chunk_tokens == 512
    numbers = random.Random("matrix")
    for _ in range(3000 if EVERYTHING else 150):
        turned = bytearray(whole)
        turned[numbers.randrange(len(whole) - 512)] = numbers.choice((0, 255, 127, 8))
        file.write_bytes(turned)
        is_ours(partial(read_matrix, file))
    for content in nasty.TEXTS:
        file.write_bytes(content)
        with pytest.raises(DeployqError):
            read_matrix(file)


# ---------------------------------------------------------------- TOML

ENTRY = {"quant": "Q8_0", "n_ctx": 512, "manifest_digest": "0" * 64}
LOCK = {"schema": 1, "tags": {"m:q8_0": {"http://a:1": {**ENTRY, "earlier": [ENTRY]}}}}
TOMLS = (
    *nasty.TEXTS,
    b"a = " + b"[" * 100_000,
    b"a = " + b"9" * 10_000,
    b"[tags]\n[tags]",
    b"a = 1e999",
    b"schema = 1\ntags = 1979-05-27T07:32:00Z",
)


def tomls(document: dict[str, Any], share: float) -> Iterator[bytes]:
    cases = ((path, value) for path in nasty.places(document) for value in nasty.VALUES)
    for path, value in some(cases, share):
        # What TOML can't say is left out.
        with contextlib.suppress(TypeError, AttributeError, UnicodeEncodeError):
            yield tomli_w.dumps(nasty.changed(document, path, value)).encode()
    yield from TOMLS


def test_a_configuration_of_anything(tmp_path: Path) -> None:
    sample = tomllib.loads((ROOT / "deployq.toml").read_text(encoding="utf-8"))
    for content in tomls(sample, 0.1):
        is_ours(partial(parse_config, content.decode("latin-1"), tmp_path))


def written_again(text: str) -> str:
    return Lockfile.loads(text, "deployq.lock").dumps()


def test_a_lockfile_of_anything() -> None:
    for content in tomls(LOCK, 0.5):
        is_ours(partial(written_again, content.decode("latin-1")))


def test_a_suite_of_anything(tmp_path: Path) -> None:
    checks = cast("dict[str, CheckType]", load_plugins().named("deployq_checks"))
    suite = tomllib.loads((ROOT / "examples/task-api/suite.toml").read_text(encoding="utf-8"))
    suite["prompts"] = suite["prompts"][:2]
    for kind in ("toml", "jsonl"):
        file = tmp_path / f"suite.{kind}"
        for content in tomls(suite, 0.1):
            file.write_bytes(content)
            is_ours(partial(load_suite, file, checks))


# ---------------------------------------------------------------- baselines


def test_a_baseline_of_anything(tmp_path: Path) -> None:
    """Baselines are carried from one machine to another."""
    file = tmp_path / "b.jsonl.gz"
    packed_texts = [gzip.compress(text) for text in nasty.TEXTS]
    cut = [whole[: len(whole) // 2] for whole in packed_texts]
    turned = [whole[:12] + b"\xff" * 8 + whole[20:] for whole in packed_texts]
    for content in (*nasty.TEXTS, *packed_texts, *cut, *turned):
        file.write_bytes(content)
        with nasty.guarded(), pytest.raises(ArtifactError, match="is no baseline"):
            read_baseline(file)
