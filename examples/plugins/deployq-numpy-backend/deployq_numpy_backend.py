"""A deployq backend that quantizes with the numpy code of the `gguf` package."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import version

import gguf
import numpy as np
import numpy.typing as npt

from deployq import Backend, BackendError, Health, Progress, QuantizeJob, hookimpl

deployq_api = "1.0"
Type = gguf.GGMLQuantizationType
FileType = gguf.LlamaFileType
QUANTS = {
    "F32": (Type.F32, FileType.ALL_F32),
    "F16": (Type.F16, FileType.MOSTLY_F16),
    "BF16": (Type.BF16, FileType.MOSTLY_BF16),
    "Q8_0": (Type.Q8_0, FileType.MOSTLY_Q8_0),
    "Q5_1": (Type.Q5_1, FileType.MOSTLY_Q5_1),
    "Q5_0": (Type.Q5_0, FileType.MOSTLY_Q5_0),
    "Q4_1": (Type.Q4_1, FileType.MOSTLY_Q4_1),
    "Q4_0": (Type.Q4_0, FileType.MOSTLY_Q4_0),
}
FULL_PRECISION = (Type.F32, Type.F16, Type.BF16)
SMALL = (Type.Q5_1, Type.Q5_0, Type.Q4_1, Type.Q4_0)
OWN_KEYS = ("general.file_type", "general.quantization_version", "general.architecture")


class NumpyBackend:
    """Makes `QUANTS` in this process; `threads` of a job is of no use to numpy."""

    name = "numpy"

    def health(self) -> Health:
        return Health(True, version=f"gguf {version('gguf')}", detail="pure Python and numpy")

    def quants(self) -> frozenset[str]:
        return frozenset(QUANTS)

    def quantize(self, jobs: Sequence[QuantizeJob], progress: Progress) -> None:
        """Write each job's output, tensor by tensor.

        Raises:
            BackendError: an unknown quant, or a source that can't be read or is quantized.
        """
        for job in jobs:
            if job.quant not in QUANTS:
                raise BackendError(f"{self.name} can't make {job.quant}: {', '.join(QUANTS)}")
        for job in jobs:
            reader = _open(job)
            done = False
            try:
                _write(reader, job, progress)
                done = True
            finally:
                if not done:
                    job.output.unlink(missing_ok=True)


def _open(job: QuantizeJob) -> gguf.GGUFReader:
    try:
        reader = gguf.GGUFReader(job.source)
    except (OSError, ValueError, IndexError, KeyError) as exc:
        raise BackendError(f"{job.source} can't be read as GGUF: {exc}") from exc
    parts = reader.get_field("split.count")
    if parts is not None and parts.contents() > 1:
        raise BackendError(f"{job.source} is split: join it with llama-gguf-split --merge")
    quantized = [t.name for t in reader.tensors if t.tensor_type not in FULL_PRECISION]
    if quantized and not job.allow_requantize:
        raise BackendError(f"{job.source} is quantized already, such as {quantized[0]}")
    return reader


def _write(reader: gguf.GGUFReader, job: QuantizeJob, progress: Progress) -> None:
    writer = gguf.GGUFWriter(job.output, reader.fields["general.architecture"].contents())
    try:
        _add_metadata(writer, reader, QUANTS[job.quant][1])
        types = [_type_of(tensor, QUANTS[job.quant][0]) for tensor in reader.tensors]
        for tensor, kind in zip(reader.tensors, types, strict=True):
            _announce(writer, tensor, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for done, (tensor, kind) in enumerate(zip(reader.tensors, types, strict=True), start=1):
            writer.write_tensor_data(_convert(tensor, kind))
            progress(job.quant, done, len(types), "tensors")
    finally:
        writer.close()


def _add_metadata(
    writer: gguf.GGUFWriter, reader: gguf.GGUFReader, file_type: gguf.LlamaFileType
) -> None:
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in OWN_KEYS:
            continue
        kind, *items = field.types
        writer.add_key_value(key, field.contents(), kind, items[-1] if items else None)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(file_type)


def _type_of(
    tensor: gguf.gguf_reader.ReaderTensor, wanted: gguf.GGMLQuantizationType
) -> gguf.GGMLQuantizationType:
    """What a tensor becomes; vectors and routers stay as they are."""
    is_matrix = len(tensor.shape) > 1 and tensor.name.endswith("weight")
    if not is_matrix or "_norm" in tensor.name or "ffn_gate_inp" in tensor.name:
        return tensor.tensor_type
    if wanted in SMALL and tensor.name == "output.weight":
        wanted = Type.Q8_0
    block, _ = gguf.GGML_QUANT_SIZES[wanted]
    return wanted if tensor.shape[0] % block == 0 else Type.F16


def _announce(
    writer: gguf.GGUFWriter,
    tensor: gguf.gguf_reader.ReaderTensor,
    kind: gguf.GGMLQuantizationType,
) -> None:
    # GGUF lists a row's length first, numpy last
    shape = tuple(int(extent) for extent in reversed(tensor.shape))
    in_bytes = gguf.quants.quant_shape_to_byte_shape(shape, kind)
    size = int(np.prod(in_bytes, dtype=np.int64))
    writer.add_tensor_info(tensor.name, in_bytes, np.dtype(np.uint8), size, raw_dtype=kind)


def _convert(
    tensor: gguf.gguf_reader.ReaderTensor, kind: gguf.GGMLQuantizationType
) -> npt.NDArray[np.uint8]:
    if kind == tensor.tensor_type:
        same: npt.NDArray[np.uint8] = np.ascontiguousarray(tensor.data).view(np.uint8)
        return same
    weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    made: npt.NDArray[np.uint8] = np.ascontiguousarray(gguf.quants.quantize(weights, kind))
    return made.view(np.uint8)


@hookimpl
def deployq_backends() -> Iterable[Backend]:
    return (NumpyBackend(),)
