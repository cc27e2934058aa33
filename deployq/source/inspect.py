"""What the user trained, from its headers alone: `inspect` turns a path into a `ModelInfo`."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache, partial
from pathlib import Path

from deployq import source
from deployq.errors import ConfigError, SourceError
from deployq.foreign_values import MAX_LAYERS, ForeignObject
from deployq.ggml import GGUF_ALIGNMENT, NATIVE_TYPES, TYPES, padded
from deployq.source.gguf import Header, read_header
from deployq.source.projector import (
    model_ggufs,
    projector_bytes,
    projector_note,
    projector_of,
)
from deployq.source.turn_ends import TURN_ENDS, inner_ends, turn_ends
from deployq.types import ModelInfo, TensorInfo

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
_TOKENS, _TOKEN_TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_STOP_IDS = tuple(f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom"))
_CONTROL_TYPES = (3, 4)  # llama.cpp's LLAMA_TOKEN_TYPE_CONTROL and _USER_DEFINED

# What llama-quantize sets itself, as 32-bit values, and what it leaves out (src/llama-quant.cpp).
_SET_KEYS = ("general.quantization_version", "general.file_type")
_SPLIT_KEYS = ("split.no", "split.count", "split.tensors.count")


def inspect(path: Path, *, unconverted: bool = False) -> ModelInfo:
    """Read what a model is from its headers.

    Args:
        path: a GGUF file, any part of a split one, a folder that holds exactly one of them, or
            one that holds a Hugging Face model (safetensors and config.json).
        unconverted: of a folder that holds both, the Hugging Face model.

    Raises:
        ConfigError: nothing is there.
        SourceError: it is no model that can be quantized, and why.
    """
    try:
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder", hint="check the model's source")
        whole = path.is_dir() and source.is_hugging_face(path)
        if whole and (unconverted or not model_ggufs(path)):
            return source.inspect_hugging_face(path)
        headers = [read_header(file) for file in _parts(_gguf_in(path) if path.is_dir() else path)]
        _check_parts(headers)
        return _model_info(headers)
    except OSError as exc:
        raise SourceError(f"{path}: can't be read: {exc.strerror or exc}") from exc


def require_full_precision(info: ModelInfo, allow_requantize: bool, label: str = "") -> None:
    """Refuse a source that is quantized already: each further loss adds to the first.

    Args:
        info: of the source.
        allow_requantize: it is wanted all the same.
        label: how the source was named, if not by its path.

    Raises:
        SourceError: it is quantized and `allow_requantize` is off.
    """
    if info.quantized and not allow_requantize:
        kinds = Counter(t.type for t in info.tensors if lossy(t.type))
        original = "a full-precision tag (F16, BF16, F32)" if label.startswith("ollama:") else ""
        raise SourceError(
            f"{label or info.path}: is quantized already "
            f"({', '.join(k for k, _ in kinds.most_common(3))}); "
            "quantizing it again loses more than quantizing its F16 original",
            hint=f"give {original or 'the F16, BF16 or F32 GGUF'}, or add --allow-requantize",
        )


def lossy(type_name: str) -> bool:
    """Whether weights of this type are no longer what the model was trained with."""
    return TYPES[type_name].quantized and type_name not in NATIVE_TYPES


def _gguf_in(folder: Path) -> Path:
    """The one model among a folder's GGUF files; a split one counts once."""
    found = {_first_part(file).name: file for file in model_ggufs(folder)}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise SourceError(
            f"{folder}: holds {len(found)} GGUF models: {', '.join(found)}",
            hint=f"name the one that is meant, such as {folder / next(iter(found))}",
        )
    _refuse_hugging_face(folder)
    raise SourceError(f"{folder}: holds no GGUF file", hint="give a full-precision GGUF")


def _refuse_hugging_face(folder: Path) -> None:
    """Say how to get from what training left to what can be inspected."""
    if (folder / "adapter_config.json").exists():
        raise SourceError(
            f"{folder}: is a LoRA adapter, which is a model only on its base",
            hint=f"deployq push {folder} --base BASE",
        )
    if (folder / "config.json").exists() or any(folder.glob("*.safetensors")):
        lacks = "weights" if (folder / "config.json").exists() else "config.json"
        raise SourceError(
            f"{folder}: is half a Hugging Face model: it has no {lacks}",
            hint="save it again: model.save_pretrained() writes both",
        )


def _first_part(file: Path) -> Path:
    match = _PART.fullmatch(file.name)
    return file.with_name(f"{match['stem']}-00001-of-{match['count']}.gguf") if match else file


def _parts(file: Path) -> tuple[Path, ...]:
    """All files of a model, from any one of them; a missing one is named."""
    match = _PART.fullmatch(file.name)
    if not match:
        return (file,)
    count = int(match["count"])
    if not 1 <= int(match["number"]) <= count:
        raise SourceError(f"{file}: calls itself part {match['number']} of {match['count']}")
    files = []
    for number in range(1, count + 1):
        part = file.with_name(f"{match['stem']}-{number:05}-of-{match['count']}.gguf")
        if not part.exists():
            raise SourceError(
                f"{file}: the model has {count} parts, and {part.name} is missing",
                hint="put all parts into one folder",
            )
        files.append(part)
    return tuple(files)


def _check_parts(headers: Sequence[Header]) -> None:
    """What each part says of itself must agree with the file names."""
    for number, header in enumerate(headers):
        count = header.metadata.get("split.count") or 1
        if count != len(headers):
            raise SourceError(
                f"{header.path}: says it is one of {count} parts, found with {len(headers)}",
                hint="a split model's files are named NAME-00001-of-0000N.gguf",
            )
        if header.metadata.get("split.no", number) != number:
            raise SourceError(
                f"{header.path}: says it is part {header.metadata['split.no']} (counted from 0), "
                f"its name says {number}",
                hint="give the parts their own names back",
            )
    names = Counter(tensor.name for header in headers for tensor in header.tensors)
    if names and (twice := names.most_common(1)[0])[1] > 1:
        raise SourceError(f"{headers[0].path}: tensor {twice[0]!r} is in more than one part")
    claimed = headers[0].metadata.get("split.tensors.count", len(names))
    if claimed != len(names):
        raise SourceError(
            f"{headers[0].path}: the parts hold {len(names)} tensors, not the {claimed} announced"
        )


def _model_info(headers: Sequence[Header]) -> ModelInfo:
    first = headers[0]
    if first.big_endian != (sys.byteorder == "big"):
        raise SourceError(
            f"{first.path}: is of the other byte order, for other processors than this one: "
            "llama.cpp does not load it here",
            hint="convert the model again here, or turn the file: python -m "
            "gguf.scripts.gguf_convert_endian FILE native",
        )
    architecture = _architecture(first)
    _check_layers(first, architecture)
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    if not tensors:
        raise SourceError(f"{first.path}: holds a vocabulary only, no weights")
    n_ctx_train = first.metadata.get(f"{architecture}.context_length")
    template = first.metadata.get("tokenizer.chat_template")
    projector = projector_bytes(projector_of(first.path, first.metadata))
    header = _output_header_bytes(first, tensors)
    return ModelInfo(
        path=first.path,
        files=tuple(header.path for header in headers),
        architecture=architecture,
        name=str(first.metadata.get("general.name") or first.path.stem),
        dtype=_main_type(tensors),
        quantized=any(lossy(tensor.type) for tensor in tensors),
        n_params=sum(tensor.n_elements for tensor in tensors),
        n_ctx_train=n_ctx_train if isinstance(n_ctx_train, int) else None,
        header_bytes=padded(header, GGUF_ALIGNMENT),
        header_padding=padded(header, GGUF_ALIGNMENT) - header,
        file_bytes=sum(header.file_bytes for header in headers),
        metadata=first.metadata,
        array_lengths={key: array.count for key, array in first.arrays.items()},
        tensors=tensors,
        chat_template=template if isinstance(template, str) else None,
        bos_token=_token(first, "tokenizer.ggml.bos_token_id"),
        eos_token=_token(first, "tokenizer.ggml.eos_token_id"),
        stop_tokens=_stop_tokens(first),
        arrays=first.values,
        projector_bytes=projector,
        warnings=tuple(projector_note(projector)),
    )


def _architecture(header: Header) -> str:
    architecture = header.metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise SourceError(f"{header.path}: its header names no architecture")
    kind = header.metadata.get("general.type", "model")
    if kind != "model" or architecture == "clip":
        what = "a projector (mmproj)" if architecture == "clip" else f"of the type {kind!r}"
        raise SourceError(f"{header.path}: is {what}, not a language model")
    return architecture


def _check_layers(header: Header, architecture: str) -> None:
    """Checks that layers can be counted; the other figures are checked when a plan asks for them.

    Raises:
        SourceError: no model has so many.
    """

    def refuse(words: str) -> SourceError:
        return SourceError(f"{header.path}: {words}", hint="convert the model again")

    stated = ForeignObject(header.metadata, refuse)
    for key in ("block_count", "nextn_predict_layers"):
        stated.integer(f"{architecture}.{key}", 0, MAX_LAYERS)


def _main_type(tensors: Iterable[TensorInfo]) -> str:
    """The type that holds most weights."""
    counts: Counter[str] = Counter()
    for tensor in tensors:
        counts[tensor.type] += tensor.n_elements
    return counts.most_common(1)[0][0]


def _output_header_bytes(header: Header, tensors: Iterable[TensorInfo]) -> int:
    """Bytes before tensor data in the file that llama-quantize writes, not padded yet.

    It keeps every metadata entry, sets two as 32-bit values, drops those of a split, joins the
    tensors, drops trailing dimensions of 1, and pads them to 32 whatever the source did (seen by
    running b11434 on headers with other alignments).
    """
    kept = {k: n for k, n in header.entry_bytes.items() if k not in (*_SET_KEYS, *_SPLIT_KEYS)}
    entries = sum(kept.values()) + sum(8 + len(key) + 4 + 4 for key in _SET_KEYS)
    infos = sum(8 + len(t.name.encode()) + 4 + 8 * _n_dims(t.shape) + 4 + 8 for t in tensors)
    return 4 + 4 + 8 + 8 + entries + infos


def _n_dims(shape: Sequence[int]) -> int:
    """Dimensions that ggml counts: those up to the last one that isn't 1, at least one."""
    return max((i for i, extent in enumerate(shape, 1) if extent > 1), default=1)


def _token(header: Header, id_key: str) -> str | None:
    """The text of the token whose id a metadata key gives."""
    number, tokens = header.metadata.get(id_key), header.arrays.get(_TOKENS)
    if tokens is None or not isinstance(number, int):
        return None
    text = tokens.at(number)
    return text if isinstance(text, str) else None


def _stop_tokens(header: Header) -> tuple[str, ...]:
    """Texts that end an answer, by the model's own word: its ids, then its template's marks."""
    template = header.metadata.get("tokenizer.chat_template")
    is_mark = cache(partial(_is_mark, header))
    written = turn_ends(template, is_mark) if isinstance(template, str) else ()
    named = [token for key in _STOP_IDS if (token := _token(header, key))]
    spared = inner_ends(is_mark) if set(named) & set(TURN_ENDS) else frozenset()
    return tuple(dict.fromkeys([*(token for token in named if token not in spared), *written]))


def _is_mark(header: Header, text: str) -> bool:
    """Whether the vocabulary has `text` as one special token."""
    tokens, kinds = header.arrays.get(_TOKENS), header.arrays.get(_TOKEN_TYPES)
    index = tokens.index(text) if tokens else None
    return index is not None and (kinds is None or kinds.at(index) in _CONTROL_TYPES)
