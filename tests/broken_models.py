"""Copies of a GGUF with one fault made on purpose."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

# What is told anew by the writer itself.
_WRITERS_OWN = ("GGUF.version", "GGUF.tensor_count", "GGUF.kv_count", "general.architecture")


def copy_gguf(
    source: Path,
    path: Path,
    *,
    fields: Mapping[str, Any] | None = None,
    tensor: Callable[[str, np.ndarray[Any, Any]], np.ndarray[Any, Any]] = lambda _, data: data,
    without: Collection[str] = (),
    more: Mapping[str, np.ndarray[Any, Any]] | None = None,
    added: Callable[[gguf.GGUFWriter], None] = lambda _: None,
    big_endian: bool = False,
    alignment: int = 32,
) -> Path:
    """Write a GGUF anew with other values of some fields, or with other weights.

    Args:
        without: fields and tensors that are left out.
        more: tensors that come on top.
        added: writes fields that come on top.
    """
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    endian = gguf.GGUFEndian.BIG if big_endian else gguf.GGUFEndian.LITTLE
    writer = gguf.GGUFWriter(path, architecture, endianess=endian)
    if alignment != writer.data_alignment:
        writer.add_custom_alignment(alignment)
    for name, field in reader.fields.items():
        if name in _WRITERS_OWN or name in without:
            continue
        value = (fields or {}).get(name, field.contents())
        sub_type = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(name, value, field.types[0], sub_type)
    added(writer)
    for one in reader.tensors:
        if one.name not in without:
            data = tensor(one.name, np.array(one.data))
            writer.add_tensor(one.name, data, raw_dtype=one.tensor_type)
    for name, data in (more or {}).items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def without_end_mark(source: Path, path: Path) -> Path:
    """A model whose end of an answer has another name, and is no end token of the header."""
    reader = gguf.GGUFReader(source)
    template = reader.fields["tokenizer.chat_template"].contents()
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    return copy_gguf(
        source,
        path,
        fields={
            "tokenizer.chat_template": template.replace("<|im_end|>", "<|fin|>"),
            "tokenizer.ggml.tokens": [t.replace("<|im_end|>", "<|fin|>") for t in tokens],
            "tokenizer.ggml.eos_token_id": 3,
        },
    )


def damaged(source: Path, path: Path, name: str) -> Path:
    """A model of whose tensors one was overwritten with noise."""
    noise = np.random.default_rng(7)

    def overwritten(tensor: str, data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if tensor != name:
            return data
        return np.frombuffer(noise.bytes(data.nbytes), data.dtype).reshape(data.shape)

    return copy_gguf(source, path, tensor=overwritten)


def with_rows_turned(source: Path, path: Path, name: str) -> Path:
    """A model of whose tensors one has its rows in the wrong order: each is sound by itself.

    Ollama before 0.34.1 looks at the numbers when it creates a tag, and refuses noise.
    """
    return copy_gguf(source, path, tensor=lambda n, data: data[::-1].copy() if n == name else data)


def overwrite(path: Path, name: str) -> None:
    """Overwrite a tensor's bytes in place, whatever the file's mode."""
    reader = gguf.GGUFReader(path)
    found = next(t for t in reader.tensors if t.name == name)
    start, size = int(found.data_offset), int(found.n_bytes)
    mode = path.stat().st_mode
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(start)
        file.write(np.random.default_rng(7).bytes(size))
    path.chmod(mode)
