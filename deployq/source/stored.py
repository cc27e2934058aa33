"""The weights of a Hugging Face folder, in whichever format they are stored."""

from __future__ import annotations

from pathlib import Path

from deployq.errors import SourceError
from deployq.source import safetensors
from deployq.source.pickled import INDEX, read_pickle
from deployq.source.safetensors import StoredTensor, Weights

PICKLE = ".bin"


def read_weights(folder: Path) -> Weights:
    """The tensors of a model; safetensors go before pickle files, of which nothing is run.

    Raises:
        SourceError: there are none, a shard is missing, or a header is not true.
    """
    files = _pickles(folder)
    if not files or any(folder.glob("*.safetensors")) or (folder / safetensors.INDEX).exists():
        return safetensors.read_weights(folder)
    tensors = [
        StoredTensor(name, tensor.dtype, tensor.shape)
        for file in files
        for name, tensor in read_pickle(file).items()
    ]
    return Weights(files, tuple(tensors))


def _pickles(folder: Path) -> tuple[Path, ...]:
    """Every pickle file of a model; one that its index names must be there."""
    index = folder / INDEX
    if not index.is_file():
        return tuple(sorted(folder.glob("pytorch_model*.bin")))
    names = safetensors.read_index(index)
    files = tuple(folder / Path(name).name for name in sorted(set(names.values())))
    for file in files:
        if not file.is_file():
            raise SourceError(
                f"{folder}: the shard {file.name} is missing", hint="put all shards into one folder"
            )
    return files
