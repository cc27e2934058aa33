"""The table of tensor types, held against the `gguf` package's."""

from __future__ import annotations

import gguf
import pytest

from deployq.ggml import TYPES, TYPES_BY_ID, padded, tensor_bytes

NOT_IN_FILES = {"Q8_1"}  # only in memory; the package counts its two half floats as floats


def test_ids_and_blocks_are_those_of_the_gguf_package() -> None:
    theirs = {kind.name: (int(kind), *size) for kind, size in gguf.GGML_QUANT_SIZES.items()}
    ours = {kind.name: (kind.id, kind.block, kind.block_bytes) for kind in TYPES.values()}
    shared = (theirs.keys() & ours.keys()) - NOT_IN_FILES
    assert len(shared) >= 32
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}
    assert len(TYPES_BY_ID) == len(TYPES)


@pytest.mark.parametrize(
    ("shape", "kind", "n_bytes"),
    [((256,), "F32", 1024), ((256, 3), "Q4_K", 432), ((64, 2, 2), "Q8_0", 272), ((), "F16", 2)],
)
def test_bytes_of_a_tensor(shape: tuple[int, ...], kind: str, n_bytes: int) -> None:
    assert tensor_bytes(shape, kind) == n_bytes


def test_padding() -> None:
    assert [padded(n) for n in (0, 1, 32, 33)] == [0, 32, 32, 64]
    assert padded(5, 8) == 8
