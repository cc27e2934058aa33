"""Weights in pickle files are read by their names alone; nothing in them is run."""

from __future__ import annotations

import io
import math
import os
import pickle
import random
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from deployq import source
from deployq.errors import SourceError
from deployq.source.hf_files import link_adapter
from deployq.source.inspect import inspect
from deployq.source.pickled import read_pickle
from deployq.source.preflight import check_folder
from deployq.source.safetensors import read_tensors
from deployq.source.weights import read_array
from deployq.types import Failed
from tests.nasty import guarded, raised
from tests.source.hf_files import llama_stored
from tests.source.training_files import write_adapter, write_model


class _Global:
    """Pickles as the name of something in another module."""

    def __init__(self, module: str, name: str) -> None:
        self.place = (module, name)


class _Call:
    """Pickles as the call of something, without its being there."""

    def __init__(self, what: _Global, *arguments: Any) -> None:
        self.what, self.arguments = what, arguments


class _Storage:
    def __init__(self, dtype: str, key: str, count: int) -> None:
        self.pid = ("storage", _Global("torch", dtype), key, "cpu", count)


_Pickler: Any = pickle._Pickler  # the one in Python, which can be told what to write


class _Writer(_Pickler):  # type: ignore[misc]
    """Writes what torch.save writes, with no torch."""

    def persistent_id(self, obj: Any) -> Any:
        return obj.pid if isinstance(obj, _Storage) else None

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Global):
            self.write(b"c" + "\n".join([*obj.place, ""]).encode())
        elif isinstance(obj, _Call):
            self.save(obj.what)
            self.save(obj.arguments)
            self.write(b"R")
        else:
            super().save(obj, save_persistent_id)


def write_pickle(path: Path, values: dict[str, tuple[tuple[int, ...], bytes]]) -> Path:
    """A file as torch.save leaves it: float32 tensors with these bytes."""
    state: OrderedDict[str, Any] = OrderedDict()
    for key, (name, (shape, raw)) in enumerate(values.items()):
        storage = _Storage("FloatStorage", str(key), len(raw) // 4)
        rebuild = _Global("torch._utils", "_rebuild_tensor_v2")
        strides = tuple(math.prod(shape[at + 1 :]) for at in range(len(shape)))
        state[name] = _Call(rebuild, storage, 0, shape, strides, False, OrderedDict())
    buffer = io.BytesIO()
    _Writer(buffer, 2).dump(state)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", buffer.getvalue())
        for key, (_, raw) in enumerate(values.values()):
            archive.writestr(f"archive/data/{key}", raw)
    return path


def pickled_model(folder: Path) -> Path:
    write_model(folder)
    (folder / "model.safetensors").unlink()
    values = {}
    for name, shape in llama_stored().items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values[name] = (shape, struct.pack("<f", 0.5) * count)
    write_pickle(folder / "pytorch_model.bin", values)
    return folder


def test_a_model_in_a_pickle_file_is_planned_and_needs_trust(tmp_path: Path) -> None:
    folder = pickled_model(tmp_path / "m")
    info = inspect(folder)
    assert (info.architecture, info.dtype) == ("llama", "F32")
    same = inspect(write_model(tmp_path / "safe", "F32"))
    assert {t.name: t.shape for t in info.tensors} == {t.name: t.shape for t in same.tensors}
    (found,) = check_folder(folder)
    assert (found.check, type(found)) == ("pickle", Failed)
    assert "--allow pickle" in found.hint


def test_safetensors_go_first(tmp_path: Path) -> None:
    folder = pickled_model(tmp_path / "m")
    write_model(folder)
    assert list(check_folder(folder)) == []


def test_its_weights_are_scanned_too(tmp_path: Path) -> None:
    good, bad = struct.pack("<4f", 1, 2, 3, 4), struct.pack("<4f", 1, float("nan"), 3, 4)
    file = write_pickle(tmp_path / "a.bin", {"good": ((2, 2), good), "bad": ((4,), bad)})
    assert source.scan_weights([file]).not_numbers == ("bad",)


def test_code_in_it_is_not_run(tmp_path: Path) -> None:
    file, mark = tmp_path / "pytorch_model.bin", tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(mark),)

    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"w": Evil()}))
    with pytest.raises(SourceError, match="mkdir, which no weights need"):
        read_pickle(file)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Evil()))
    assert mark.exists(), "anything else would have run it"


@pytest.mark.parametrize("content", [b"", b"\x80\x02}q\x00.", b"PK\x03\x04"])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "pytorch_model.bin"
    file.write_bytes(content)
    with pytest.raises(SourceError, match=r"PyTorch 1\.6 or later"):
        read_pickle(file)


def test_a_missing_shard(tmp_path: Path) -> None:
    folder = pickled_model(tmp_path / "m")
    index = '{"weight_map": {"a": "pytorch_model.bin", "b": "pytorch_model-00002-of-00002.bin"}}'
    (folder / "pytorch_model.bin.index.json").write_text(index)
    with pytest.raises(SourceError, match=r"pytorch_model-00002-of-00002\.bin is missing"):
        inspect(folder)


def rewritten(file: Path, content: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)


def test_a_pickle_of_anything_ends_in_time(tmp_path: Path) -> None:
    """Bytes turned, and cut anywhere: tensors or an error of ours, and no gigabytes."""
    file = write_pickle(tmp_path / "a.bin", {"w": ((2, 2), bytes(16)), "v": ((4,), bytes(16))})
    with zipfile.ZipFile(file) as archive:
        whole = archive.read("archive/data.pkl")
    numbers = random.Random("pickle")
    for _ in range(600):
        turned = bytearray(whole)
        for _ in range(numbers.choice((1, 2))):
            turned[numbers.randrange(len(turned))] = numbers.randrange(256)
        rewritten(file, bytes(turned[: numbers.choice((len(turned), numbers.randrange(99)))]))
        with guarded():
            raised(lambda: read_pickle(file), SourceError)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x80\x02}r\xff\xff\xff\x7f.", None),  # a memo of two thousand million places
        (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x0f.", "can't be read as weights"),
        (b"(" * 100_000 + b".", "can't be read as weights"),
        (b"\x80\x02]q\x00h\x00a.", "holds no weights by name"),
    ],
)
def test_a_hostile_pickle(tmp_path: Path, content: bytes, said: str | None) -> None:
    rewritten(tmp_path / "a.bin", content)
    with guarded():
        refused = raised(lambda: read_pickle(tmp_path / "a.bin"), SourceError)
    assert (refused is None) == (said is None)
    assert refused is None or str(said) in refused.message


def test_a_pickle_that_is_compressed_or_not_there(tmp_path: Path) -> None:
    rewritten(tmp_path / "a.bin", pickle.dumps({}), zipfile.ZIP_DEFLATED)
    with pytest.raises(SourceError, match="its pickle is compressed"):
        read_pickle(tmp_path / "a.bin")
    with zipfile.ZipFile(tmp_path / "b.bin", "w") as archive:
        archive.writestr("archive/version", b"3")
    with pytest.raises(SourceError, match=r"it has no data\.pkl"):
        read_pickle(tmp_path / "b.bin")


# ---------------------------------------------------------------- adapters


def pickled_adapter(folder: Path) -> tuple[Path, Path]:
    """The same adapter twice: with safetensors, and as adapter_model.bin."""
    safe = write_adapter(folder / "safe" / "lora")
    file = safe / "adapter_model.safetensors"
    values = {t.name: (t.shape, read_array(file, t.name).tobytes()) for t in read_tensors(file)}
    pickled = write_adapter(folder / "pickled" / "lora")
    (pickled / "adapter_model.safetensors").unlink()
    write_pickle(pickled / "adapter_model.bin", values)
    return safe, pickled


def test_an_adapter_in_a_pickle_file_is_read_as_any_other(tmp_path: Path) -> None:
    safe, pickled = (source.read_adapter(folder) for folder in pickled_adapter(tmp_path))
    assert (safe.pairs, safe.whole, safe.rank) == (pickled.pairs, pickled.whole, pickled.rank)
    assert pickled.weights.name == "adapter_model.bin"
    assert list(source.check_trained(pickled)) == []
    (found,) = source.check_pickled(pickled.folder, [pickled.weights])
    assert (found.check, type(found)) == ("pickle", Failed)
    assert list(source.check_pickled(safe.folder, [safe.weights])) == []


def test_tools_get_it_as_safetensors(tmp_path: Path) -> None:
    safe, pickled = pickled_adapter(tmp_path)
    assert link_adapter(safe, tmp_path / "scratch") == safe
    view = link_adapter(pickled, tmp_path / "scratch")
    assert not (view / "adapter_model.bin").exists()
    name = "adapter_model.safetensors"
    ours, theirs = (
        {
            t.name: (t, read_array(folder / name, t.name).tolist())
            for t in read_tensors(folder / name)
        }
        for folder in (view, safe)
    )
    assert ours == theirs
    assert (view / "adapter_config.json").read_bytes() == (
        safe / "adapter_config.json"
    ).read_bytes()
