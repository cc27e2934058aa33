"""Quantized weights are told from damaged ones, tensor by tensor."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployq import proc
from deployq.source.tensor_damage import damaged_tensors
from tests.broken_models import copy_gguf, overwrite

Weights = np.ndarray[Any, np.dtype[Any]]
NAME = "blk.1.ffn_down.weight"


def looked_at(path: Path, *source: Path) -> list[str]:
    told: list[tuple[float, float | None]] = []
    found = damaged_tensors(
        [path], source, lambda _task, done, total, _unit: told.append((done, total))
    )
    assert told[-1][0] == told[-1][1]
    return [str(one) for one in found]


@pytest.fixture(scope="module")
def quantized(
    tools_bin: Path, sample_gguf: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("quants")
    made = {quant: folder / f"{quant}.gguf" for quant in ("Q8_0", "Q4_K_M", "Q2_K", "IQ4_XS")}
    for quant, path in made.items():
        proc.run([tools_bin / "llama-quantize", sample_gguf, path, quant])
    return made


@pytest.mark.tools
def test_no_quant_counts_as_damage(quantized: dict[str, Path], sample_gguf: Path) -> None:
    for path in quantized.values():
        assert looked_at(path, sample_gguf) == []
        assert looked_at(path) == []


@pytest.mark.tools
@pytest.mark.parametrize("quant", ["Q8_0", "Q4_K_M", "Q2_K", "IQ4_XS"])
def test_a_tensor_that_was_overwritten(
    quantized: dict[str, Path], sample_gguf: Path, tmp_path: Path, quant: str
) -> None:
    path = tmp_path / "damaged.gguf"
    shutil.copy(quantized[quant], path)
    overwrite(path, NAME)
    (found,) = looked_at(path, sample_gguf)
    assert found.startswith(f"{NAME}: ")


@pytest.mark.tools
def test_a_few_rows_that_were_zeroed(
    quantized: dict[str, Path], sample_gguf: Path, tmp_path: Path
) -> None:
    def zeroed(name: str, data: Weights) -> Weights:
        if name == NAME:
            data = data.copy()
            data[3:6] = 0
        return data

    path = copy_gguf(quantized["Q4_K_M"], tmp_path / "zeroed.gguf", tensor=zeroed)
    assert looked_at(path, sample_gguf) == [f"{NAME}: 3 of 256 rows are not those of the source"]
    assert looked_at(path) == []


def test_values_that_no_weights_have(sample_gguf: Path, tmp_path: Path) -> None:
    path = tmp_path / "f16.gguf"
    shutil.copy(sample_gguf, path)
    assert looked_at(path) == []
    overwrite(path, NAME)
    assert looked_at(path) == [f"{NAME}: 256 of 256 rows hold values that no weights have"]
