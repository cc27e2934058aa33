"""What a model is, by its header: for people, and as a JSON document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deployq.report.wording import count, one_line, parameters_text, plain
from deployq.types import ModelInfo, Scalar, TensorGroup
from deployq.units import format_bytes

TEMPLATE_LINES = 6
LINE_CHARACTERS = 76

# keys of the architecture's own, in the order in which they are shown, and what they are
_FIGURES = (
    ("block_count", "layers"),
    ("embedding_length", "width"),
    ("attention.head_count", "heads"),
    ("attention.head_count_kv", "KV heads"),
    ("attention.key_length", "key size per head"),
    ("attention.value_length", "value size per head"),
    ("feed_forward_length", "feed-forward width"),
    ("expert_count", "experts"),
    ("expert_used_count", "experts used per token"),
    ("attention.sliding_window", "sliding window"),
    ("context_length", "trained context"),
    ("rope.freq_base", "RoPE base"),
    ("rope.scaling.type", "RoPE scaling"),
    ("rope.scaling.factor", "RoPE factor"),
    ("ssm.state_size", "state size"),
)


def inspect_view(
    info: ModelInfo, groups: Sequence[TensorGroup], unknown: str = ""
) -> RenderableType:
    """A model at a glance.

    Args:
        info: what its header says.
        groups: its tensors by role and type.
        unknown: why its memory can't be predicted, if that is so.
    """
    return Group(*_parts(info, groups, unknown))


def inspect_document(
    info: ModelInfo, groups: Sequence[TensorGroup], unknown: str = ""
) -> dict[str, Any]:
    """What `deployq inspect --json` prints."""
    return {
        "schema": 1,
        "path": str(info.path),
        "files": [str(file) for file in info.files],
        "name": info.name,
        "architecture": info.architecture,
        "format": info.format,
        "dtype": info.dtype,
        "quantized": info.quantized,
        "n_params": info.n_params,
        "n_ctx_train": info.n_ctx_train,
        "file_bytes": info.file_bytes,
        "figures": {key: value for key, _ in _FIGURES if (value := _value(info, key)) is not None},
        "tokenizer": {
            "model": info.metadata.get("tokenizer.ggml.model"),
            "pre": info.metadata.get("tokenizer.ggml.pre"),
            "n_tokens": _vocabulary(info) or None,
            "bos": info.bos_token,
            "eos": info.eos_token,
            "stops": list(info.stop_tokens),
        },
        "chat_template": info.chat_template,
        "tensors": [asdict(group) for group in groups],
        "projector_bytes": info.projector_bytes,
        "notes": list(info.notes),
        "warnings": list(info.warnings),
        "estimate": info.estimate,
        "memory_is_upper_bound": bool(unknown),
    }


def _parts(
    info: ModelInfo, groups: Sequence[TensorGroup], unknown: str
) -> Iterator[RenderableType]:
    quantized = ", quantized" if info.quantized else ""
    yield Text.assemble(
        (plain(info.name), "bold"),
        f"  {plain(info.architecture)}, {parameters_text(info.n_params)} parameters, "
        f"{info.dtype}{quantized}, {format_bytes(info.file_bytes)}",
    )
    for file in info.files:
        yield Text(f"  {plain(str(file))}", style="dim", overflow="fold")
    for note in info.notes:
        yield Text(f"  {plain(note)}", overflow="fold")
    yield ""
    yield _facts([*_architecture(info), *_tokenizer(info)])
    yield ""
    yield from _template(info)
    yield ""
    yield _tensors(groups)
    for sentence in filter(None, (info.estimate, *info.warnings)):
        yield ""
        yield Text(f"! {plain(sentence)}", style="yellow")
    if unknown:
        yield ""
        yield Text(f"! memory would be {plain(unknown)}", style="yellow")


# ---------------------------------------------------------------- facts


def _architecture(info: ModelInfo) -> Iterator[tuple[str, str]]:
    for key, label in _FIGURES:
        if (value := _value(info, key)) is not None:
            yield label, _shown(value)


def _tokenizer(info: ModelInfo) -> Iterator[tuple[str, str]]:
    model = info.metadata.get("tokenizer.ggml.model")
    pre = info.metadata.get("tokenizer.ggml.pre")
    if model is None:
        yield "tokenizer", "none in this file"
        return
    shown = plain(str(model)) + (f", pre-tokenizer {plain(str(pre))}" if pre else "")
    yield "tokenizer", f"{shown}, {count(_vocabulary(info), 'token')}"
    yield "begins with", _token(info.bos_token)
    yield "ends with", _token(info.eos_token)
    if info.stop_tokens:
        yield "stops at", " ".join(_token(stop) for stop in info.stop_tokens)


def _token(text: str | None) -> str:
    return plain(text) if text else "nothing that is named"


def _value(info: ModelInfo, key: str) -> Scalar | list[Scalar] | None:
    full = f"{info.architecture}.{key}"
    if values := info.arrays.get(full):
        return list(values)
    return info.metadata.get(full)


def _shown(value: Scalar | list[Scalar]) -> str:
    """A figure; of one per layer, how often each stands there."""
    if not isinstance(value, list):
        return plain(f"{value:g}" if isinstance(value, float) else str(value))
    counts = Counter(value)
    if len(counts) == 1:
        return str(value[0])
    if len(counts) > 4:
        return f"{min(counts)} to {max(counts)}, by layer"
    return ", ".join(f"{n} in {count(times, 'layer')}" for n, times in counts.items())


def _vocabulary(info: ModelInfo) -> int:
    return info.array_lengths.get("tokenizer.ggml.tokens", 0)


def _facts(facts: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in facts:
        table.add_row(label, Text(text))
    return table


# ---------------------------------------------------------------- template, tensors


def _template(info: ModelInfo) -> Iterator[RenderableType]:
    if info.chat_template is None:
        yield Text("no chat template: the model takes bare text", style="yellow")
        return
    lines = info.chat_template.splitlines()
    yield Text(f"chat template, {count(len(lines), 'line')}", style="dim")
    for line in lines[:TEMPLATE_LINES]:
        yield Text(f"  {one_line(line, LINE_CHARACTERS)}", no_wrap=True, overflow="ellipsis")
    if len(lines) > TEMPLATE_LINES:
        yield Text(f"  … {count(len(lines) - TEMPLATE_LINES, 'more line')}", style="dim")


def _tensors(groups: Sequence[TensorGroup]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("role", "type", "tensors", "weights", "bytes"):
        left = heading in ("role", "type")
        table.add_column(heading, justify="left" if left else "right", overflow="fold")
    for group in groups:
        table.add_row(
            plain(group.role),
            group.type,
            str(group.tensors),
            f"{group.n_elements:,}",
            format_bytes(group.data_bytes),
        )
    return table
