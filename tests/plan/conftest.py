"""The oracle: what llama.cpp's own tools say of seven published models (tests/data/oracle)."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from deployq.source.inspect import inspect
from deployq.types import ModelInfo

ORACLE = Path(__file__).resolve().parent.parent / "data" / "oracle"
MODELS = tuple(sorted(path.stem for path in ORACLE.glob("*.json")))


@dataclass(frozen=True)
class Oracle:
    """One published model: what is read from its header, and what the tools said of it."""

    info: ModelInfo
    hparams: dict[str, Any]
    sizes: dict[str, Any]
    memory: list[dict[str, Any]]


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Oracle]:
    """Gives a model of the oracle; its file is a real header and a hole for the weights."""
    folder = tmp_path_factory.mktemp("oracle")

    @cache
    def load(name: str) -> Oracle:
        said = json.loads((ORACLE / f"{name}.json").read_text())
        file = folder / f"{name}.gguf"
        file.write_bytes(
            gzip.decompress((ORACLE / f"headers/{name}.f16.header.gguf.gz").read_bytes())
        )
        os.truncate(file, said["sizes"]["F16"]["file_bytes"])
        return Oracle(inspect(file), said["hparams"], said["sizes"], said["memory"])

    return load
