"""The header reader: real headers, both byte orders, and everything a hostile file can claim."""

from __future__ import annotations

import contextlib
import gzip
import os
import struct
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployq.errors import SourceError
from deployq.source.gguf import read_header
from tests.source.gguf_files import CHATML, llama_keys, llama_tensors, write_llama, write_sparse

HEADERS = Path(__file__).resolve().parent.parent / "data" / "oracle" / "headers"
U32, STRING, ARRAY = 4, 8, 9


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def array(key: str, kind: int, count: int, content: bytes = b"") -> bytes:
    return entry(key, ARRAY, struct.pack("<IQ", kind, count) + content)


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    dims = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + dims + struct.pack("<IQ", kind, offset)


def header(
    entries: list[bytes],
    tensors: list[bytes] | None = None,
    *,
    version: int = 3,
    n_keys: int | None = None,
    n_tensors: int | None = None,
) -> bytes:
    tensors = tensors or []
    counts = struct.pack(
        "<IQQ",
        version,
        len(tensors) if n_tensors is None else n_tensors,
        len(entries) if n_keys is None else n_keys,
    )
    return b"GGUF" + counts + b"".join(entries) + b"".join(tensors)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def refused(path: Path, content: bytes, size: int | None = None) -> str:
    """The message that a file's content is refused with; `size` makes it longer, sparse."""
    path.write_bytes(content)
    if size is not None:
        os.truncate(path, size)
    with pytest.raises(SourceError) as caught:
        read_header(path)
    assert str(path) in caught.value.message
    return caught.value.message


def test_reads_what_the_gguf_package_writes(file: Path) -> None:
    found = read_header(write_llama(file))
    assert (found.version, found.big_endian, found.alignment) == (3, False, 32)
    assert found.metadata["general.name"] == "Tiny"
    assert found.metadata["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-5)
    assert found.metadata["tokenizer.chat_template"] == CHATML
    assert found.arrays["tokenizer.ggml.tokens"].count == 8
    assert found.values["tokenizer.ggml.token_type"] == (2, 3, 3, 3, 3, 1, 1, 1)
    assert {t.name: t.shape for t in found.tensors} == llama_tensors()
    assert {t.type for t in found.tensors} == {"F16", "F32"}


def test_entry_bytes_add_up_to_the_metadata(file: Path) -> None:
    found = read_header(write_llama(file))
    infos = sum(8 + len(t.name) + 4 + 8 * len(t.shape) + 12 for t in found.tensors)
    end = 24 + sum(found.entry_bytes.values()) + infos
    assert found.data_offset == -(-end // 32) * 32


def test_big_endian_reads_the_same(tmp_path: Path) -> None:
    little = write_llama(tmp_path / "little.gguf")
    big = write_sparse(
        tmp_path / "big.gguf", "llama", llama_keys(), llama_tensors(), big_endian=True
    )
    one, two = read_header(little), read_header(big)
    assert two.big_endian
    assert one.metadata == two.metadata
    assert one.tensors == two.tensors
    assert two.arrays["tokenizer.ggml.tokens"].at(3) == "<|im_start|>"
    assert two.arrays["tokenizer.ggml.tokens"].index("<|im_end|>") == 4


def test_version_2_is_read_and_1_is_not(file: Path) -> None:
    content = bytearray(write_llama(file).read_bytes())
    content[4] = 2
    file.write_bytes(content)
    assert read_header(file).version == 2
    content[4] = 1
    assert "version 1" in refused(file, bytes(content))


@pytest.mark.parametrize("count", [1, 255, 256, 257, 700])
def test_entries_of_string_arrays_are_found_by_number_and_by_text(file: Path, count: int) -> None:
    words = [f"word{n}" for n in range(count)]
    file.write_bytes(header([array("a", STRING, count, b"".join(map(text, words)))]))
    found = read_header(file).arrays["a"]
    assert [found.at(n) for n in range(count)] == words
    assert [found.index(words[n]) for n in (0, count // 2, count - 1)] == [0, count // 2, count - 1]
    assert found.at(count) is None
    assert found.at(-1) is None
    assert found.index("absent") is None


def test_an_entry_inside_another_is_not_taken_for_one(file: Path) -> None:
    inner = text("</s>").decode("latin-1")
    words = ["a" + inner, "b", "</s>"]
    file.write_bytes(header([array("a", STRING, 3, b"".join(map(text, words)))]))
    assert read_header(file).arrays["a"].index("</s>") == 2


def test_strings_across_the_reader_s_chunks(file: Path) -> None:
    words = ["x" * 700_000, "mark", "y" * 1_500_000, "end"]
    content = header(
        [array("a", STRING, 4, b"".join(map(text, words))), entry("k", STRING, text("v"))]
    )
    file.write_bytes(content)
    found = read_header(file)
    assert [found.arrays["a"].at(n) for n in range(4)] == words
    assert [found.arrays["a"].index(word) for word in words] == [0, 1, 2, 3]
    assert found.metadata["k"] == "v"


def test_long_numeric_arrays_stay_in_the_file(file: Path) -> None:
    content = struct.pack("<2000i", *range(2000))
    file.write_bytes(header([array("a", 5, 2000, content), array("b", 5, 1024, content[:4096])]))
    found = read_header(file)
    assert "a" not in found.values
    assert found.arrays["a"].at(1999) == 1999
    assert found.values["b"] == tuple(range(1024))


def test_booleans_and_bad_utf8(file: Path) -> None:
    bad = struct.pack("<Q", 2) + b"\xff\xfe"
    file.write_bytes(
        header(
            [array("flags", 7, 3, b"\x01\x00\x01"), entry("yes", 7, b"\x01"), entry("s", 8, bad)]
        )
    )
    found = read_header(file)
    assert found.values["flags"] == (True, False, True)
    assert found.metadata["yes"] is True
    assert found.metadata["s"] == "\ufffd\ufffd"


HOSTILE = {
    "the magic": (b"PK\x03\x04" + bytes(60), "not a GGUF"),
    "nothing at all": (b"", "not a GGUF"),
    "two bytes": (b"GG", "not a GGUF"),
    "version 4": (header([], version=4), "version 4"),
    "2^60 keys": (header([], n_keys=1 << 60), "keys"),
    "2^60 tensors": (header([], n_tensors=1 << 60), "tensors"),
    "more keys than there are": (header([entry("a", U32, bytes(4))], n_keys=2), "ends here"),
    "a key of 2^50 bytes": (header([struct.pack("<Q", 1 << 50)], n_keys=1), "longer than any"),
    "a string past the end": (header([entry("a", STRING, struct.pack("<Q", 1000))]), "ends here"),
    "a string of 2^40": (header([entry("a", STRING, struct.pack("<Q", 1 << 40))]), "longer"),
    "value type 13": (header([entry("a", 13, bytes(8))]), "type 13"),
    "value type 2^31": (header([entry("a", 1 << 31, bytes(8))]), "does not exist"),
    "a nested array": (header([array("a", ARRAY, 1, bytes(12))]), "can't stand in an array"),
    "an array of type 99": (header([array("a", 99, 1, bytes(8))]), "type 99"),
    "2^62 numbers": (header([array("a", 10, 1 << 62)]), "ends here"),
    "2^62 strings": (header([array("a", STRING, 1 << 62)]), "more than any"),
    "2^20 strings in 8 bytes": (header([array("a", STRING, 1 << 20, bytes(8))]), "can hold"),
    "an entry past the end": (
        header([array("a", STRING, 1, struct.pack("<Q", 1 << 63))]),
        "beyond the file",
    ),
    "a key twice": (header([entry("a", U32, bytes(4))] * 2), "twice"),
    "alignment 0": (header([entry("general.alignment", U32, bytes(4))]), "alignment"),
    "alignment 48": (header([entry("general.alignment", U32, b"\x30\0\0\0")]), "power of two"),
    "alignment true": (header([entry("general.alignment", 7, b"\x01")]), "alignment"),
    "alignment 2^31": (header([entry("general.alignment", U32, b"\0\0\0\x80")]), "alignment"),
    "a tensor twice": (
        header([], [tensor("t", (8,)), tensor("t", (8,), offset=32)]) + bytes(99),
        "twice",
    ),
    "5 dimensions": (header([], [tensor("t", (1, 1, 1, 1, 1))]), "5 dimensions"),
    "2^31 dimensions": (header([], [text("t") + struct.pack("<I", 1 << 31)]), "dimensions"),
    "an extent of 0": (header([], [tensor("t", (4, 0))]), "absurd"),
    "an overflowing shape": (header([], [tensor("t", (1 << 40, 1 << 40))]), "absurd"),
    "an unknown type": (header([], [tensor("t", (8,), kind=31)]), "type 31"),
    "a broken block": (header([], [tensor("t", (48,), kind=12)]), "block"),
    "a name of 64 bytes": (header([], [tensor("t" * 64, (8,))]), "longer than any"),
    "data past the end": (header([], [tensor("t", (1 << 30,))]), "bytes are missing"),
    "data at the wrong place": (header([], [tensor("t", (8,), offset=64)]) + bytes(99), "not at 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_are_refused_with_their_cause(file: Path, case: str) -> None:
    content, cause = HOSTILE[case]
    assert cause in refused(file, content)


def test_claims_are_not_believed_even_where_the_file_could_hold_them(file: Path) -> None:
    """A sparse file of 1 TiB: no gigabytes are read, allocated or walked over."""
    tracemalloc.start()
    began = time.perf_counter()
    sparse = 1 << 40
    messages = [
        refused(file, header([array("a", STRING, 1 << 36)]), sparse),
        refused(file, header([entry("a", STRING, struct.pack("<Q", 1 << 36))]), sparse),
        refused(file, header([struct.pack("<Q", 1 << 36)], n_keys=1), sparse),
        refused(file, header([array("a", 10, 1 << 36)], n_keys=1 << 16), sparse),
    ]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all("Error" not in message for message in messages)
    assert peak < 64 << 20
    assert time.perf_counter() - began < 20


def test_a_folder_and_a_missing_file_are_errors_of_ours(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.gguf"):
        with pytest.raises(SourceError, match=r"can't be read|is a folder"):
            read_header(path)


def test_a_real_header_cut_anywhere_is_refused(file: Path, tmp_path: Path) -> None:
    whole = write_llama(tmp_path / "whole.gguf").read_bytes()
    data_offset = read_header(tmp_path / "whole.gguf").data_offset
    for length in [*range(0, data_offset, 7), len(whole) - 1, data_offset]:
        refused(file, whole[:length])


def test_the_header_of_a_published_model_cut_anywhere_is_refused(file: Path) -> None:
    whole = gzip.decompress((HEADERS / "smollm2-135m.f16.header.gguf.gz").read_bytes())
    file.write_bytes(whole)
    for length in sorted(
        {*range(len(whole) - 1, 0, -(len(whole) // 40)), 3, 23, 24, 25}, reverse=True
    ):
        os.truncate(file, length)
        with pytest.raises(SourceError):
            read_header(file)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_llama(tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()[:3000]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 2999), st.binary(min_size=1, max_size=9)), min_size=1, max_size=6
    ),
    length=st.integers(0, 3000),
)
def test_mutated_bytes_never_crash(
    file: Path, tiny: bytes, changes: list[tuple[int, bytes]], length: int
) -> None:
    content = bytearray(tiny)
    for place, new in changes:
        content[place : place + len(new)] = new
    file.write_bytes(content[:length] if length % 3 else content + bytes(1 << 20))
    with contextlib.suppress(SourceError):
        found = read_header(file)
        assert found.data_offset <= found.file_bytes
        for strings in found.arrays.values():
            strings.at(0)


def test_a_vocabulary_of_128k_takes_milliseconds(file: Path) -> None:
    """Some 17 ms on the machine where this was written; the limit leaves slack for busy ones."""
    content = gzip.decompress((HEADERS / "llama-3-8b.f16.header.gguf.gz").read_bytes())
    file.write_bytes(content)
    os.truncate(file, len(content) + (17 << 30))
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        found = read_header(file)
        seconds.append(time.perf_counter() - began)
    assert found.arrays["tokenizer.ggml.tokens"].count == 128256
    assert min(seconds) < 0.5
