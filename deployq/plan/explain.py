"""The arithmetic behind one candidate, line by line: every line's bytes add up to its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from deployq.errors import ConfigError
from deployq.ggml import TYPES, padded, tensor_bytes
from deployq.plan.cache import LayerCache, layer_caches
from deployq.plan.figures import Figures
from deployq.plan.memory import parse_cache_type
from deployq.plan.offload import OUTPUT_FIRST, lookups, skipped_bytes
from deployq.plan.quants import tensor_types
from deployq.records import dataclass
from deployq.serving import DEFAULT_BATCH
from deployq.types import (
    Candidate,
    Explanation,
    ModelInfo,
    Plan,
    Target,
    TargetPlan,
    TensorGroup,
    Term,
)


def explain(plan: Plan, target: TargetPlan, quant: str) -> Explanation:
    """How a quant's size and memory come about on one target of a plan.

    Raises:
        ConfigError: the quant is none of the target's candidates.
        SourceError: the model's shapes don't allow it.
    """
    candidate = next((c for c in target.candidates if c.quant == quant), None)
    if candidate is None:
        names = ", ".join(c.quant for c in target.candidates)
        raise ConfigError(
            f"{quant} is no candidate of the target {target.target.name!r}: {names}",
            hint=f"deployq plan {plan.model} --quants {quant} --explain {quant}",
        )
    types = tensor_types(plan.source, quant)[0]
    groups = tensor_groups(plan.source, types)
    return Explanation(
        target=target.target,
        candidate=candidate,
        groups=groups,
        file=tuple(_file(plan.source, candidate, groups)),
        kv_cache=tuple(_kv_cache(plan.source, target.target, candidate)),
        compute=tuple(_compute(plan.source, target.target, candidate)),
        weights=tuple(_weights(plan.source, target.target, candidate, types)),
    )


# ---------------------------------------------------------------- the file


def tensor_groups(info: ModelInfo, types: Sequence[str]) -> tuple[TensorGroup, ...]:
    """Tensors by role and type, in the order in which the file names the roles.

    Args:
        info: the model.
        types: the type of each of its tensors, in their order.
    """
    counts: Counter[tuple[str, str]] = Counter()
    elements: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    for tensor, kind in zip(info.tensors, types, strict=True):
        key = (_role(tensor.name), kind)
        counts[key] += 1
        elements[key] += tensor.n_elements
        sizes[key] += padded(tensor_bytes(tensor.shape, kind))
    roles = list(dict.fromkeys(role for role, _ in counts))
    return tuple(
        TensorGroup(role, kind, counts[role, kind], elements[role, kind], sizes[role, kind])
        for role, kind in sorted(counts, key=lambda key: roles.index(key[0]))
    )


def _role(name: str) -> str:
    """What a tensor is for: its name without its layer, small ones by what they are."""
    parts = name.removesuffix(".weight").split(".")
    last = parts[-1] if parts[0] == "blk" else name.removesuffix(".weight")
    return "norms" if last.endswith("norm") else last


def _file(info: ModelInfo, candidate: Candidate, groups: tuple[TensorGroup, ...]) -> Iterator[Term]:
    tensors = sum(group.data_bytes for group in groups)
    yield Term("tensors", f"{len(info.tensors)} tensors, each padded to 32 bytes", tensors)
    yield Term("header", "metadata, vocabulary and tensor list", info.header_bytes)
    if rest := candidate.size.file_bytes - tensors - info.header_bytes:
        yield Term("difference", f"as {candidate.size.by} has it", rest)


# ---------------------------------------------------------------- memory


_F32, _F16 = 4, 2


def _weights(
    info: ModelInfo, target: Target, candidate: Candidate, types: Sequence[str]
) -> Iterator[Term]:
    """The file without its header and what is skipped; on a card, without what stays in RAM."""
    found = lookups(info, types)
    whole = candidate.size.file_bytes - info.header_bytes
    yield Term("weights", f"the file without its {info.header_bytes:,} bytes of header", whole)
    if (skipped := skipped_bytes(info, types)) and not target.drafts:
        yield Term("prediction", "layers for predicting further tokens: not loaded", -skipped)
    if info.projector_bytes:
        yield Term("projector", "the tensors of the projector beside it", info.projector_bytes)
    if target.kind == "vram" and found.ram_bytes:
        yield Term("embeddings", "looked up row by row: they stay in RAM", -found.ram_bytes)
    if target.kind == "vram" and found.second_copy_bytes:
        yield Term(
            "output", "is the embedding: a second copy, on the card", found.second_copy_bytes
        )
    if target.kind == "ram" and info.architecture in OUTPUT_FIRST and found.second_copy_bytes:
        yield Term("output", "a copy of the embedding, made before it", found.second_copy_bytes)


@dataclass(frozen=True)
class _Kind:
    """Layers that keep the same amount."""

    key_width: int
    value_width: int
    cells: int
    windowed: bool
    state: int


def _kv_cache(info: ModelInfo, target: Target, candidate: Candidate) -> Iterator[Term]:
    keys, values = parse_cache_type(target.cache_type)
    sequences = target.serving.parallel
    caches = layer_caches(Figures(info), target.n_ctx, candidate.memory.n_batch or DEFAULT_BATCH)
    kinds: dict[_Kind, list[LayerCache]] = {}
    for one in caches:
        kind = _Kind(one.key_width, one.value_width, one.cells, one.windowed, one.state)
        kinds.setdefault(kind, []).append(one)
    for kind, layers in kinds.items():
        what = "recurrent state" if kind.state else "window" if kind.windowed else "attention"
        n_bytes = sequences * sum(layer.bytes(keys, values) for layer in layers)
        formula = _cache_formula(kind, len(layers), keys, values)
        yield Term(what, f"{_times(sequences)}{formula}", n_bytes)
    counted = sequences * sum(one.bytes(keys, values) for one in caches)
    if rest := candidate.memory.kv_cache_bytes - counted:
        yield Term("more", "what the model keeps beside its layers", rest)


def _cache_formula(kind: _Kind, layers: int, keys: str, values: str) -> str:
    if kind.state:
        return f"{layers} layers × {kind.state} numbers of F32"
    parts = [f"{kind.key_width} of a key × {TYPES[keys].bits:g} bits"]
    if kind.value_width:
        parts.append(f"{kind.value_width} of a value × {TYPES[values].bits:g} bits")
    return f"{layers} layers × {kind.cells} cells × ({' + '.join(parts)})"


def _compute(info: ModelInfo, target: Target, candidate: Candidate) -> Iterator[Term]:
    """The terms of `compute_bytes`; what is left beside mask and output is the widest moment."""
    figures, serving, memory = Figures(info), target.serving, candidate.memory
    n_batch = memory.n_batch or DEFAULT_BATCH
    caches = layer_caches(figures, target.n_ctx, n_batch)
    cells = {one.windowed: one.cells for one in caches if one.cells}
    number = _F16 if serving.flash_attention else _F32
    mask = number * n_batch * sum(cells.values())
    output = _F32 * serving.parallel * figures.vocabulary
    single = (memory.compute_bytes - memory.unused_bytes) // memory.cards
    moment = single - mask - output
    per_token = moment / (_F32 * n_batch)
    yield Term(
        "a layer's widest moment", f"{n_batch} tokens × {per_token:,.0f} numbers × 4 bytes", moment
    )
    if mask:
        counted = " + ".join(str(n) for n in cells.values())
        yield Term("attention mask", f"{n_batch} tokens × {counted} cells × {number} bytes", mask)
    rows = f"{_times(serving.parallel)}{figures.vocabulary:,} tokens of the vocabulary × 4 bytes"
    yield Term("output", rows, output)
    if memory.cards > 1:
        more = memory.cards - 1
        yield Term("other cards", f"the same on {more} more", more * single)
        yield Term(
            "whole layers", "what cards keep empty, a layer isn't split", memory.unused_bytes
        )


def _times(sequences: int) -> str:
    """The factor of parallel sequences, where there are several."""
    return f"{sequences} sequences × " if sequences > 1 else ""
