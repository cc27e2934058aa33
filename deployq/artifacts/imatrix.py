"""Reading an importance matrix, and holding it to a model.

In GGUF, as llama-imatrix writes it now, it has for each matrix product `NAME.in_sum2` (a row of
sums for every matrix: one, or one per expert) and `NAME.counts` (how many tokens each of them saw).
The format before stands in imatrix_dat.py.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from deployq.artifacts.imatrix_dat import read_dat
from deployq.errors import ArtifactError
from deployq.foreign_values import ForeignObject
from deployq.ggml import TYPES
from deployq.types import ImatrixFacts, ModelInfo, TensorInfo

_SUMS, _COUNTS = ".in_sum2", ".counts"
_TYPE, _MAGIC = "imatrix", b"GGUF"
_HINT = 'make one: imatrix = "suite" in deployq.toml, or --imatrix suite'
# llama-imatrix collects nothing for them by itself; llama-quantize does without
_NEVER_COVERED = ("token_embd.weight", "output.weight", "per_layer_token_embd.weight")
_KEPT_PARTS = ("_norm.weight", "ffn_gate_inp.weight")


def read_imatrix(path: Path) -> ImatrixFacts:
    """What a matrix holds.

    Raises:
        ArtifactError: it can't be read, or is none.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                return read_dat(path, path.read_bytes())
        return _facts(path, gguf.GGUFReader(path))  # which reads a value when it is asked for
    except OSError as exc:
        raise ArtifactError(
            f"cannot read the importance matrix {path}: {exc.strerror or exc}"
        ) from exc
    except (ValueError, KeyError, IndexError, TypeError) as exc:
        raise ArtifactError(f"{path} is no whole importance matrix: {exc}", hint=_HINT) from exc


def _facts(path: Path, reader: gguf.GGUFReader) -> ImatrixFacts:
    if _text(reader, "general.type") != _TYPE:
        kind = _text(reader, "general.type") or "no type"
        raise ArtifactError(f"{path} is a GGUF of {kind!r}, no importance matrix", hint=_HINT)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    names = [name.removesuffix(_SUMS) for name in tensors if name.endswith(_SUMS)]
    if not names:
        raise ArtifactError(f"the importance matrix {path} is empty", hint=_HINT)
    counts = {
        name: np.asarray(tensors[f"{name}{_COUNTS}"].data).reshape(-1)
        for name in names
        if f"{name}{_COUNTS}" in tensors
    }
    return ImatrixFacts(
        rows={name: int(tensors[f"{name}{_SUMS}"].shape[0]) for name in names},
        experts={name: _matrices(tensors[f"{name}{_SUMS}"]) for name in names},
        chunks=_number(reader, "imatrix.chunk_count"),
        chunk_tokens=_number(reader, "imatrix.chunk_size"),
        datasets=_texts(reader, "imatrix.datasets"),
        unseen={name: zeros for name, seen in counts.items() if (zeros := _zeros(seen))},
    )


def _matrices(sums: gguf.ReaderTensor) -> int:
    return int(sums.n_elements) // int(sums.shape[0])


def _zeros(seen: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> tuple[int, ...]:
    return tuple(int(number) for number in np.flatnonzero(seen == 0))


def require_fits(facts: ImatrixFacts, info: ModelInfo, what: str) -> None:
    """Is the matrix one of this model?

    Raises:
        ArtifactError: its entries have other shapes, or are for other tensors.
    """
    tensors = {tensor.name: tensor for tensor in info.tensors}
    if not facts.rows.keys() & tensors.keys():
        raise ArtifactError(
            f"{what} is of another model: {info.path.name} has no {next(iter(facts.rows))}",
            hint=_HINT,
        )
    for name, row in facts.rows.items():
        tensor = tensors.get(name)
        if tensor is None:
            continue
        experts, in_row = _experts(tensor), tensor.shape[0]
        has, needs = f"{facts.experts.get(name)} x {row}", f"{experts} x {in_row}"
        if name not in facts.experts:  # the old format has those of all experts in one row
            has, needs = str(row), str(experts * in_row)
        if has != needs:
            raise ArtifactError(
                f"{what} is of another model: for {name} it has {has} values, "
                f"{info.path.name} needs {needs}",
                hint=_HINT,
            )


def missing_tensors(facts: ImatrixFacts, info: ModelInfo) -> tuple[str, ...]:
    """Matrices that are quantized without help, since the matrix has nothing for them."""
    return tuple(
        tensor.name
        for tensor in info.tensors
        if _is_matrix(tensor) and tensor.name not in facts.rows
    )


def _is_matrix(tensor: TensorInfo) -> bool:
    if len(tensor.shape) < 2 or not tensor.name.endswith(".weight"):
        return False
    if tensor.name in _NEVER_COVERED or any(part in tensor.name for part in _KEPT_PARTS):
        return False
    return tensor.shape[0] % TYPES["Q8_0"].block == 0


def _experts(tensor: TensorInfo) -> int:
    return tensor.shape[2] if len(tensor.shape) > 2 else 1


def _text(reader: gguf.GGUFReader, key: str) -> str:
    field = reader.get_field(key)
    value = field.contents() if field else ""
    return value if isinstance(value, str) else ""


def _texts(reader: gguf.GGUFReader, key: str) -> tuple[str, ...]:
    field = reader.get_field(key)
    value = field.contents() if field else []
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _number(reader: gguf.GGUFReader, key: str) -> int:
    field = reader.get_field(key)
    return ForeignObject({key: field.contents()}).integer(key) or 0 if field else 0
