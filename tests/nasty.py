"""What a foreign file may hold in place of a value, and a guard for what then happens."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import os
import resource
import signal
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.testing import CliRunner

from deployq.cli.main import cli
from deployq.errors import DeployqError

E = TypeVar("E", bound=Exception)

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, -(1 << 31), 1 << 31, 1 << 63, 1 << 64, 10**30, 1e30, 1e308, 0.5,
    -0.0, math.nan, math.inf, -math.inf, "", "eight", "8", "\ud800", "a\x00b", "x" * 5000,
    "\n\x1b[31m", [], [[]], [None], [1, "a"], [-1], [10**30], {}, {"a": 1}, {"content": 3},
    [[[[[[]]]]]], {"": {}},
)  # fmt: skip
"""JSON values, none of which belongs where it is put."""

TEXTS: tuple[bytes, ...] = (
    b"", b" \n", b"null", b"[]", b'"text"', b"3", b"{", b'{"a": 1', b"{]}", b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}", b"{}".replace(b"}", b"\x00}"), b"\xe9\xe8", b"NaN", b"1" * 10_000,
    b'{"architectures": ' + b"1" * 10_000 + b"}", b"[" * 100_000, b'{"a":' * 50_000,
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", bytes(1000),
    b'{"r": 8, "r": "eight", "weight_map": {}, "weight_map": 3}',
)  # fmt: skip
"""Contents of a file, in place of JSON."""

SECONDS = 5.0  # of the processor, however busy the machine is
WAIT_SECONDS = 60.0  # for what waits, such as for a pipe
MORE_MEMORY_BYTES = 2 << 30


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where in a JSON document a value is, itself included; of a list only the ends."""
    yield path
    if isinstance(value, dict):
        for key, inner in [*value.items()][:40]:
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index in sorted({0, len(value) - 1} - {-1}):
            yield from places(value[index], (*path, index))


def changed(document: Any, path: Sequence[str | int], value: Any) -> Any:
    """A copy of a JSON document with another value at one place."""
    if not path:
        return value
    made = copy.deepcopy(document)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return made


def write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value))


class HangError(Exception):
    """It takes too long."""


@contextlib.contextmanager
def guarded(seconds: float = SECONDS) -> Iterator[None]:
    """Ends what takes too long, and lets nothing take gigabytes."""

    def end(*_: object) -> None:
        raise HangError

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = [(one, signal.signal(one, end)) for one in (signal.SIGALRM, signal.SIGPROF)]
    resource.setrlimit(resource.RLIMIT_AS, (used + MORE_MEMORY_BYTES, hard))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, WAIT_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for one, handler in before:
            signal.signal(one, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def raised(call: Callable[[], object], kind: type[E]) -> E | None:
    """The error of a kind that a call raises; None where it ends well."""
    try:
        call()
    except kind as exc:
        return exc
    return None


def outcome(*arguments: str) -> DeployqError | None:
    """How a command ends in this process: with a result (None), or an error of ours.

    Raises:
        AssertionError: with anything else.
    """
    with guarded():
        ran = CliRunner().invoke(cli, list(arguments), standalone_mode=False)
    error = ran.exception
    if error is None or isinstance(error, click.exceptions.Exit):
        return None
    assert isinstance(error, DeployqError), f"{arguments}: {error!r}"
    error.message.encode()
    return error


# ---------------------------------------------------------------- GGUF

STRING, ARRAY = 8, 9
_FORMATS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIifBQqd", strict=True))
Entry = tuple[int, Any]
"""A value of a GGUF header with its type; an array's value is (type of its entries, entries)."""

GGUF_VALUES: tuple[Entry, ...] = (
    (4, 0), (4, 1), (4, 3), (4, (1 << 31) - 1), (4, 1 << 31), (4, (1 << 32) - 1), (5, -1),
    (5, -(1 << 31)), (0, 255), (1, -128), (3, -1), (10, 1 << 63), (10, (1 << 64) - 1),
    (11, -(1 << 63)), (6, math.nan), (6, math.inf), (6, 0.5), (12, 1e308), (12, -math.inf), (7, 1),
    (7, 7), (STRING, b""), (STRING, b"eight"), (STRING, b"\xff\x00\xfe"), (STRING, b"x" * 70_000),
    (ARRAY, (4, ())), (ARRAY, (4, (0,))), (ARRAY, (4, ((1 << 32) - 1,) * 3)),
    (ARRAY, (5, (-1,) * 3)), (ARRAY, (6, (math.nan,) * 3)), (ARRAY, (12, (math.inf, 1.0))),
    (ARRAY, (7, (0, 1))), (ARRAY, (10, ((1 << 64) - 1,) * 2)), (ARRAY, (4, (1,) * 2000)),
    (ARRAY, (STRING, (b"a", b"\xff"))), (ARRAY, (STRING, ())), (ARRAY, (ARRAY, ())),
    (13, b""), (1 << 31, b""),
)  # fmt: skip
"""Values of a header that belong to few keys; the last types do not exist."""


def pack_entry(key: str, entry: Entry) -> bytes:
    """A metadata entry as a GGUF has it."""
    name = key.encode()
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", entry[0]) + _packed(*entry)


def _packed(kind: int, value: Any) -> bytes:
    if kind == STRING:
        return struct.pack("<Q", len(value)) + bytes(value)
    if kind == ARRAY:
        inner, entries = value
        items = b"".join(_packed(inner, entry) for entry in entries)
        return struct.pack("<IQ", inner, len(entries)) + items
    return struct.pack(f"<{_FORMATS[kind]}", value) if kind in _FORMATS else bytes(value)


def pack_tensor(name: str, shape: Sequence[int], kind: int, offset: int) -> bytes:
    """An entry of a GGUF's list of tensors."""
    text = name.encode()
    return (
        struct.pack("<Q", len(text))
        + text
        + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    )


def write_gguf(
    file: Path,
    entries: Sequence[bytes],
    tensors: Sequence[bytes],
    *,
    counts: tuple[int, int] | None = None,
    version: int = 3,
    data_bytes: int = 0,
) -> Path:
    """A GGUF of these parts, true or not; its data is a hole."""
    n_tensors, n_keys = counts or (len(tensors), len(entries))
    head = b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_keys)
    head += b"".join(entries) + b"".join(tensors)
    file.write_bytes(head)
    os.truncate(file, -(-len(head) // 32) * 32 + data_bytes)
    return file


def llama_parts() -> tuple[dict[str, Entry], dict[str, tuple[int, ...]]]:
    """The header of a small Llama, and its tensors' shapes."""
    figures = {
        "context_length": 512, "embedding_length": 64, "block_count": 2, "feed_forward_length": 128,
        "attention.head_count": 4, "attention.head_count_kv": 2, "rope.dimension_count": 16,
        "vocab_size": 8,
    }  # fmt: skip
    entries: dict[str, Entry] = {
        "general.architecture": (STRING, b"llama"),
        "general.name": (STRING, b"Tiny"),
        "general.file_type": (4, 1),
        "general.alignment": (4, 32),
        **{f"llama.{key}": (4, value) for key, value in figures.items()},
        "llama.attention.layer_norm_rms_epsilon": (6, 1e-5),
        "tokenizer.ggml.model": (STRING, b"llama"),
        "tokenizer.ggml.pre": (STRING, b"default"),
        "tokenizer.ggml.tokens": (ARRAY, (STRING, tuple(b"<unk> <s> </s> a b c d e".split()))),
        "tokenizer.ggml.scores": (ARRAY, (6, (0.0,) * 8)),
        "tokenizer.ggml.token_type": (ARRAY, (5, (2, 3, 3, 1, 1, 1, 1, 1))),
        "tokenizer.ggml.eos_token_id": (4, 2),
        "tokenizer.ggml.bos_token_id": (4, 1),
        "tokenizer.chat_template": (STRING, b"{{ messages[0].content }}</s>"),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (64, 8), "output_norm.weight": (64,), "output.weight": (64, 8),
    }  # fmt: skip
    for n in range(2):
        parts = {
            "attn_norm": (64,), "ffn_norm": (64,), "attn_q": (64, 64), "attn_k": (64, 32),
            "attn_v": (64, 32), "attn_output": (64, 64), "ffn_gate": (64, 128), "ffn_up": (64, 128),
            "ffn_down": (128, 64),
        }  # fmt: skip
        shapes |= {f"blk.{n}.{part}.weight": shape for part, shape in parts.items()}
    return entries, shapes


def llama_tensors(shapes: dict[str, tuple[int, ...]]) -> tuple[list[bytes], int]:
    """Their entries in F32, one behind the other, and the bytes of their data."""
    made, offset = [], 0
    for name, shape in shapes.items():
        made.append(pack_tensor(name, shape, 0, offset))
        offset += -(-4 * math.prod(shape) // 32) * 32
    return made, offset
