"""The weights of a Hugging Face folder, in whichever format they are stored."""

from __future__ import annotations

from pathlib import Path

from deployq.errors import SourceError
from deployq.source import safetensors
from deployq.source.pickled import read_pickle
from deployq.source.safetensors import StoredTensor, Weights
from deployq.source.saves import choose_save

PICKLE = ".bin"


def read_weights(folder: Path) -> Weights:
    """The tensors of a model; safetensors go before pickle files, of which nothing is run.

    Raises:
        SourceError: there are none, a shard is missing, or a header is not true.
    """
    choice = choose_save(folder)
    save = choice.taken or next(iter(choice.others), None)
    if save is None or not save.pickled:
        return safetensors.read_weights(folder)
    if save.missing:
        what = f"the shard {save.missing[0]} is" if save.files else f"what {save.label} names is"
        raise SourceError(f"{folder}: {what} missing", hint="put all shards into one folder")
    tensors = [
        StoredTensor(name, tensor.dtype, tensor.shape)
        for file in save.files
        for name, tensor in read_pickle(file).items()
    ]
    return Weights(save.files, tuple(tensors))
