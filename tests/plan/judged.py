"""Headers of many architectures, and what llama.cpp's tools said of them (tests/data/judged)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployq.serving import DEFAULT_BATCH
from deployq.source.inspect import inspect
from deployq.types import ModelInfo, Serving
from tests.plan.models import VOCAB
from tests.source.gguf_files import Shape, Value, write_sparse

FOLDER = Path(__file__).resolve().parent.parent / "data" / "judged"
CASES = tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


@dataclass(frozen=True)
class Judged:
    """One header, and the tools' answers."""

    info: ModelInfo
    sizes: dict[str, tuple[int, int]]
    memory: list[dict[str, Any]]


def judged(name: str, folder: Path, experts: str = "") -> Judged:
    """A case; its header is written to `folder`, with a hole for the weights.

    `experts` is the type that the experts have instead of their own.
    """
    said = json.loads((FOLDER / f"{name}.json").read_text())
    shapes: dict[str, Shape] = {}
    types: dict[str, str] = {}
    for part, shape, kind, layers in said["tensors"]:
        for whole in _names(part, layers):
            own = experts if experts and part.endswith("_exps.weight") else kind
            shapes[whole], types[whole] = tuple(shape), own
    file = write_sparse(
        folder / f"{name}.gguf", said["architecture"], said["keys"] | _vocabulary(), shapes, types
    )
    sizes = {quant: (size, fallbacks) for quant, (size, fallbacks) in said["sizes"].items()}
    return Judged(inspect(file), sizes, said["memory"])


def serving_of(said: dict[str, Any]) -> Serving:
    """What the tools were asked of sequences, batch and flash attention."""
    return Serving(
        parallel=said["n_seq"],
        num_batch=said.get("n_batch", DEFAULT_BATCH),
        flash_attention=said.get("flash_attention", True),
    )


def _vocabulary() -> dict[str, Value]:
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [f"t{n}" for n in range(VOCAB)],
        "tokenizer.ggml.scores": [0.0] * VOCAB,
        "tokenizer.ggml.token_type": [1] * VOCAB,
    }


def _names(part: str, layers: str) -> list[str]:
    if not layers:
        return [part]
    names = []
    for piece in layers.split(","):
        first, _, last = piece.partition("-")
        names += [f"blk.{n}.{part}" for n in range(int(first), int(last or first) + 1)]
    return names
