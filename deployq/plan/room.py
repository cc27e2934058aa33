"""What room a target leaves: the largest context of a quant, and how much larger a model may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from deployq.plan.memory import MemoryModel
from deployq.serving import DEFAULT_BATCH
from deployq.types import Memory, ModelInfo, QuantSize, Target

CONTEXT_STEP = 256
"""Tokens; llama.cpp rounds a context up to a multiple of it."""

UNTRAINED_CONTEXT = 1 << 17
"""The largest context looked at where a header doesn't say what the model was trained for."""

MAX_CONTEXT = 1 << 24
"""More than any model has; what a header claims beyond it is not believed."""

MemoryOf = Callable[[QuantSize, int, str], Memory]


def header_memory(info: ModelInfo) -> Callable[[Target], MemoryOf]:
    """For a target, what `MemoryModel.predict` says of the model there."""
    model = MemoryModel(info)

    def on(target: Target) -> MemoryOf:
        serving, available = target.serving, 0
        if target.kind != "ram":
            # What is free of a GPU is not known: with all of it, the batch is not taken too small.
            available = target.memory_bytes
        if target.kind == "vram" and not serving.flash_attention:
            # Ollama's choice on NVIDIA cards; on those with up to 8 GiB it may take half of it
            serving = replace(serving, num_batch=serving.num_batch or DEFAULT_BATCH)

        def memory_of(size: QuantSize, n_ctx: int, cache_type: str) -> Memory:
            return model.predict(size, n_ctx, cache_type, serving, available_bytes=available)

        return memory_of

    return on


def largest_context(
    memory_of: MemoryOf, size: QuantSize, cache_type: str, budget_bytes: int, limit: int
) -> int:
    """The largest context in tokens, up to `limit`, with which a quant stays in the budget.

    0: not even the smallest does. Memory grows with the context, along a straight line once all
    windows are full: looked for by halves, until three points in a row say that it is straight.
    """

    def needed(steps: int) -> int:
        return memory_of(size, steps * CONTEXT_STEP, cache_type).total_bytes

    low, high = 1, max(1, -(-min(limit, MAX_CONTEXT) // CONTEXT_STEP))
    if needed(low) > budget_bytes:
        return 0
    if needed(high) <= budget_bytes:
        return min(high * CONTEXT_STEP, limit)
    while high - low > 1:
        middle = (low + high) // 2
        rise, run = needed(high) - needed(low), high - low
        if (needed(middle) - needed(low)) * run == rise * (middle - low):
            low += (budget_bytes - needed(low)) * run // rise
            break
        low, high = (middle, high) if needed(middle) <= budget_bytes else (low, middle)
    return low * CONTEXT_STEP


def growth(memory: Memory, budget_bytes: int) -> float:
    """How many times larger a model may be at the same quant and context.

    Everything is taken to grow with the parameters. KV cache and compute buffer grow more
    slowly than weights do, so this is on the careful side.
    """
    return budget_bytes / memory.total_bytes if memory.total_bytes else 0.0
