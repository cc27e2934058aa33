"""The quantization lesson's tables, worked out by the planner itself.

What the lesson says ("claim") stands beside what deployq computes for models of that size, by
their published shapes. docs/guide.md shows the result and says where the two part, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from deployq.ggml import padded
from deployq.plan.budgets import default_reserve
from deployq.plan.catalogue import CEILINGS
from deployq.plan.disk import Place
from deployq.plan.planner import make_plan
from deployq.plan.quants import own_size
from deployq.records import dataclass
from deployq.types import (
    Fit,
    Goal,
    Guide,
    GuideChoice,
    GuideFit,
    GuideSize,
    MemoryKind,
    ModelInfo,
    Target,
    TensorInfo,
)
from deployq.units import format_bytes

GB, GIB = 10**9, 2**30
CONTEXT = 4096
"""Where the lesson names no context: deployq's default."""


# ---------------------------------------------------------------- the models


@dataclass(frozen=True)
class Shape:
    """A Llama by its published config.json; `source` is where that stands."""

    name: str
    layers: int
    width: int
    ff: int
    heads: int
    kv_heads: int
    vocabulary: int
    n_ctx_train: int
    source: str


SHAPES: Mapping[str, Shape] = {
    "7B": Shape(
        "Llama-2-7B", 32, 4096, 11008, 32, 32, 32000, 4096,
        "huggingface.co/meta-llama/Llama-2-7b-hf",
    ),
    "13B": Shape(
        "Llama-2-13B", 40, 5120, 13824, 40, 40, 32000, 4096,
        "huggingface.co/meta-llama/Llama-2-13b-hf",
    ),
    "34B": Shape(
        "CodeLlama-34B", 48, 8192, 22016, 64, 8, 32000, 16384,
        "huggingface.co/codellama/CodeLlama-34b-hf",
    ),
    "70B": Shape(
        "Llama-2-70B", 80, 8192, 28672, 64, 8, 32000, 4096,
        "huggingface.co/meta-llama/Llama-2-70b-hf",
    ),
    "405B": Shape(
        "Llama-3.1-405B", 126, 16384, 53248, 128, 8, 128256, 131072,
        "huggingface.co/meta-llama/Llama-3.1-405B",
    ),
}  # fmt: skip

_TOKENIZER_BYTES = {32000: 694_000, 128256: 7_800_000}
"""Of the header, by vocabulary: Llama 2's and Llama 3.1's tokenizers in a GGUF."""

_TENSOR_INFO_BYTES = 60


def model_of(shape: Shape) -> ModelInfo:
    """What the F16 GGUF of a model of this shape would say of itself.

    Its weights are exact to the byte; the header is within a few KB.
    """
    tensors = tuple(
        TensorInfo(name, dims, "F16" if len(dims) > 1 else "F32") for name, dims in _tensors(shape)
    )
    header = _TOKENIZER_BYTES[shape.vocabulary] + _TENSOR_INFO_BYTES * len(tensors)
    return ModelInfo(
        path=Path(shape.name),
        files=(),
        architecture="llama",
        name=shape.name,
        dtype="F16",
        quantized=False,
        n_params=sum(tensor.n_elements for tensor in tensors),
        n_ctx_train=shape.n_ctx_train,
        header_bytes=padded(header),
        file_bytes=0,
        metadata={
            "llama.block_count": shape.layers,
            "llama.embedding_length": shape.width,
            "llama.feed_forward_length": shape.ff,
            "llama.attention.head_count": shape.heads,
            "llama.attention.head_count_kv": shape.kv_heads,
        },
        array_lengths={"tokenizer.ggml.tokens": shape.vocabulary},
        tensors=tensors,
    )


def _tensors(shape: Shape) -> list[tuple[str, tuple[int, ...]]]:
    width, ff = shape.width, shape.ff
    kv_width = width // shape.heads * shape.kv_heads
    layer = {
        "attn_norm": (width,), "attn_q": (width, width), "attn_k": (width, kv_width),
        "attn_v": (width, kv_width), "attn_output": (width, width), "ffn_norm": (width,),
        "ffn_gate": (width, ff), "ffn_up": (width, ff), "ffn_down": (ff, width),
    }  # fmt: skip
    outside = {
        "token_embd": (width, shape.vocabulary),
        "output_norm": (width,),
        "output": (width, shape.vocabulary),
    }
    in_layers = [
        (f"blk.{n}.{name}.weight", dims)
        for n in range(shape.layers)
        for name, dims in layer.items()
    ]
    return [*in_layers, *((f"{name}.weight", dims) for name, dims in outside.items())]


# ---------------------------------------------------------------- what the lesson says

_Row = tuple[str, str, int, Fit]  # model, quant, context, the lesson's verdict


@dataclass(frozen=True)
class _Machine:
    name: str
    memory_bytes: int
    rows: tuple[_Row, ...]


_RAM = (
    _Machine("8 GB RAM", 8 * GIB, (
        ("7B", "Q4_K_M", CONTEXT, "fits"),
        ("7B", "Q8_0", CONTEXT, "tight"),
        ("13B", "Q4_K_M", CONTEXT, "no"),
    )),
    _Machine("16 GB RAM", 16 * GIB, (
        ("7B", "Q8_0", CONTEXT, "fits"),
        ("7B", "F16", CONTEXT, "no"),
        ("13B", "Q4_K_M", CONTEXT, "fits"),
        ("13B", "Q5_K_M", CONTEXT, "fits"),
    )),
    _Machine("32 GB RAM", 32 * GIB, (
        ("7B", "F16", CONTEXT, "fits"),
        ("13B", "Q8_0", CONTEXT, "fits"),
        ("34B", "Q4_K_M", CONTEXT, "fits"),
    )),
)  # fmt: skip

_VRAM = (
    _Machine("8 GB (RTX 3070, RTX 4060)", 8 * GIB, (
        ("7B", "Q4_K_M", 4096, "fits"),
        ("7B", "Q8_0", 2048, "fits"),
        ("13B", "Q4_K_M", CONTEXT, "no"),
    )),
    _Machine("12 GB (RTX 3080, RTX 4070)", 12 * GIB, (
        ("7B", "Q8_0", 8192, "fits"),
        ("13B", "Q4_K_M", 4096, "fits"),
        ("13B", "Q5_K_M", 2048, "fits"),
    )),
    _Machine("24 GB (RTX 3090, RTX 4090)", 24 * GIB, (
        ("13B", "Q8_0", 8192, "fits"),
        ("34B", "Q4_K_M", 4096, "fits"),
        ("70B", "Q4_K_M", CONTEXT, "no"),
    )),
)  # fmt: skip

_APPLE = (
    _Machine("M1/M2, 8 GB", 8 * GIB, (("7B", "Q4_K_M", CONTEXT, "fits"),)),
    _Machine("M1/M2, 16 GB", 16 * GIB, (
        ("13B", "Q4_K_M", CONTEXT, "fits"),
        ("7B", "Q8_0", CONTEXT, "fits"),
    )),
    _Machine("M1/M2 Pro, 32 GB", 32 * GIB, (
        ("34B", "Q4_K_M", CONTEXT, "fits"),
        ("13B", "Q8_0", CONTEXT, "fits"),
    )),
    _Machine("M1/M2 Max, 64 GB", 64 * GIB, (("70B", "Q4_K_M", CONTEXT, "fits"),)),
    _Machine("M2 Ultra, 192 GB", 192 * GIB, (
        ("70B", "Q8_0", CONTEXT, "fits"),
        ("405B", "Q4_K_M", CONTEXT, "fits"),
    )),
)  # fmt: skip

_TABLES: tuple[tuple[str, MemoryKind, tuple[_Machine, ...]], ...] = (
    ("RAM", "ram", _RAM),
    ("VRAM", "vram", _VRAM),
    ("Apple Silicon", "unified", _APPLE),
)

# quant, GB of the 7B model's file, bits per weight
_SIZES = (
    ("F16", 13.5, 16), ("Q8_0", 7.2, 8), ("Q6_K", 5.5, 6), ("Q5_K_M", 4.8, 5), ("Q4_K_M", 4.1, 4),
    ("Q4_0", 3.8, 4),
)  # fmt: skip

_CHOICES: tuple[tuple[str, tuple[str, ...], Goal], ...] = (
    ("First deployment, unsure", ("Q4_K_M",), "balanced"),
    ("Quality-sensitive app", ("Q5_K_M", "Q6_K"), "quality"),
    ("Memory-constrained", ("Q4_K_S",), "memory"),
    ("Maximum quality needed", ("Q8_0",), "max"),
    ("Research/development", ("F16",), "research"),
)


# ---------------------------------------------------------------- worked out


def guide() -> Guide:
    """The lesson's tables, each cell with the planner's own answer beside the lesson's."""
    models = {size: model_of(shape) for size, shape in SHAPES.items()}
    return Guide(
        fits={
            title: tuple(
                _cell(models, kind, machine, row) for machine in machines for row in machine.rows
            )
            for title, kind, machines in _TABLES
        },
        sizes=tuple(
            GuideSize(quant, round(claimed * GB), bits, own_size(models["7B"], quant))
            for quant, claimed, bits in _SIZES
        ),
        choices=tuple(
            GuideChoice(situation, advised, goal, CEILINGS[goal])
            for situation, advised, goal in _CHOICES
        ),
    )


def _cell(
    models: Mapping[str, ModelInfo], kind: MemoryKind, machine: _Machine, row: _Row
) -> GuideFit:
    model, quant, n_ctx, claim = row
    info, memory_bytes = models[model], machine.memory_bytes
    reserve = default_reserve(kind, memory_bytes)
    target = Target(machine.name, kind, memory_bytes, reserve, n_ctx, quants=(quant,))
    plan = make_plan(model, info, [target], partial(own_size, info), artifacts=Place(0))
    (candidate,) = plan.targets[0].candidates
    loaded = plan.targets[0].target.n_ctx  # no more than the model was trained for
    fit = GuideFit(machine.name, model, claim, candidate, loaded, target.budget_bytes)
    return replace(fit, why=_why(fit))


def _why(fit: GuideFit) -> str:
    """What the lesson left out, where the answers are not the same."""
    memory, budget = fit.candidate.memory, fit.budget_bytes
    over = memory.total_bytes - budget
    if (fit.claim == "no") == (over > 0):
        return ""
    if over <= 0:
        return f"{format_bytes(-over)} to spare"
    if memory.weights_bytes > budget:
        return f"{format_bytes(memory.weights_bytes - budget)} over: weights alone"
    if memory.weights_bytes + memory.compute_bytes <= budget:
        return f"{format_bytes(over)} over: KV cache"
    return f"{format_bytes(over)} over: KV cache, compute buffer"
