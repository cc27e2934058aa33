"""Names, types, shapes and places of the tensors in a pickle file (`pytorch_model.bin`).

A pickle can run any code when it is read. Here only the five names that a saved state dict needs
are known, each as something harmless, and everything else is refused; no weights are read. The
format is that of torch.save since PyTorch 1.6: a zip file, uncompressed, `data.pkl` in it, and a
file for each storage.
"""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from deployq.errors import SourceError
from deployq.files import open_regular

_STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8",
    "ByteStorage": "U8", "BoolStorage": "BOOL",
}  # fmt: skip
_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1,
    "BOOL": 1,
}  # fmt: skip
_MOST = 1 << 62  # elements; what numbers a file could name beyond is no size
_LOCAL_HEADER = 30  # bytes of a zip entry's own header, before its name and extra field
_HINT = "load it where it was trained, and save_pretrained(..., safe_serialization=True)"


class PickledTensor(NamedTuple):
    """A tensor of a pickle file, as its record says; `shape` is in PyTorch's order."""

    dtype: str
    storage: str
    offset: int
    shape: tuple[int, ...]
    contiguous: bool = True

    @property
    def n_bytes(self) -> int:
        count = _BYTES[self.dtype]
        for extent in self.shape:
            count *= extent
        return count


class _Reader(pickle._Unpickler):  # noqa: SLF001
    """Knows what a state dict is made of, and nothing else.

    It is Python's own, not the faster one in C, which takes gigabytes where a file says so
    (LONG_BINPUT).
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"asks for {module}.{name}, which no weights need")

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        _, dtype, key, _, _ = pid
        return str(dtype), str(key)


def _tensor(
    storage: tuple[str, str], offset: int, shape: Any, stride: Any = None, *_: object
) -> PickledTensor:
    dtype, key = storage
    if dtype not in _BYTES or not all(0 <= n < _MOST for n in (offset, *shape)):
        raise ValueError(f"a tensor of {dtype} of the shape {shape!r} at {offset!r}")
    extents, step = tuple(map(int, shape)), 1
    steps: list[int] = []
    for extent in reversed(extents):
        steps.insert(0, step)
        step *= extent
    strides = zip(extents, steps, stride or steps, strict=True)
    rows = all(mine == given for extent, mine, given in strides if extent > 1)
    return PickledTensor(dtype, key, int(offset), extents, rows)


def _parameter(data: PickledTensor, *_: object) -> PickledTensor:
    return data


def read_pickle(file: Path) -> Mapping[str, PickledTensor]:
    """The tensors that a pickle file names; nothing in it is run.

    Raises:
        SourceError: it is no such file, or asks for more than weights need.
    """
    try:
        with (
            open_regular(file) as whole,
            zipfile.ZipFile(whole) as archive,
            archive.open(_record(archive)) as stream,
        ):
            found = _Reader(stream).load()
    except zipfile.BadZipFile as exc:
        raise SourceError(f"{file}: is no file of PyTorch 1.6 or later", hint=_HINT) from exc
    except SourceError:
        raise
    except Exception as exc:  # unpickling may raise any, as its documentation says
        raise SourceError(f"{file}: can't be read as weights: {exc}", hint=_HINT) from exc
    if not isinstance(found, dict):
        raise SourceError(f"{file}: holds no weights by name", hint=_HINT)
    return {str(name): t for name, t in found.items() if isinstance(t, PickledTensor)}


def pickle_places(file: Path) -> Iterator[tuple[str, str, int, int]]:
    """Name, type and place in the file of each tensor."""
    tensors = read_pickle(file)
    with zipfile.ZipFile(file) as archive, file.open("rb") as stream:
        root = _record(archive).removesuffix("data.pkl")
        for name, tensor in tensors.items():
            entry = archive.NameToInfo.get(f"{root}data/{tensor.storage}")
            if entry is None:
                raise SourceError(f"{file}: tensor {name!r} has no values in it", hint=_HINT)
            stream.seek(entry.header_offset + _LOCAL_HEADER - 4)
            lengths = sum(struct.unpack("<HH", stream.read(4)))
            data = entry.header_offset + _LOCAL_HEADER + lengths
            start = data + tensor.offset * _BYTES[tensor.dtype]
            yield name, tensor.dtype, start, start + tensor.n_bytes


def write_as_safetensors(file: Path, path: Path) -> None:
    """Write the tensors of a pickle file as safetensors, for tools that read only these.

    Raises:
        SourceError: it is no such file, or a tensor is not stored row by row.
    """
    tensors, header, at = read_pickle(file), {}, 0
    for name, tensor in tensors.items():
        if not tensor.contiguous:
            raise SourceError(f"{file}: {name} is not stored row by row", hint=_HINT)
        place = [at, at + tensor.n_bytes]
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": place}
        at += tensor.n_bytes
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    with file.open("rb") as source, path.open("wb") as target:
        target.write(struct.pack("<Q", len(text)) + text)
        for _, _, start, end in pickle_places(file):
            source.seek(start)
            target.write(source.read(end - start))


def _record(archive: zipfile.ZipFile) -> str:
    """The name of the pickle, which is not compressed: a few bytes could become gigabytes."""
    for entry in archive.infolist():
        if entry.filename.endswith("data.pkl"):
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError("its pickle is compressed, as PyTorch writes none")
            return entry.filename
    raise ValueError("it has no data.pkl")
