"""What a plan has to know of a model's importance matrix, before there is one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deployq.pipeline.resolve import Model
from deployq.plan.catalogue import CATALOGUE
from deployq.setting_values import SUITE

FILE, TEXT = "imatrix.gguf", "conversations.txt"
"""Names in the cache: they go into every file that is quantized with a matrix."""

# What llama-quantize writes into the header of a file made with a matrix (src/llama-quant.cpp):
# an entry is the length of its key, the key, a type id, and the value; a text has its length first.
_FILE_KEY, _TEXT_KEY = "quantize.imatrix.file", "quantize.imatrix.dataset"
_NUMBER_KEYS = ("quantize.imatrix.entries_count", "quantize.imatrix.chunks_count")


def with_imatrix(model: Model, asked: str | None) -> Model:
    """The model with the importance matrix of the command line: "suite", a file, or "none"."""
    if asked is None:
        return model
    wanted = None if asked == "none" else SUITE if asked == SUITE else Path(asked)
    return replace(model, settings=replace(model.settings, imatrix=wanted))


def uses_imatrix(model: Model, quant: str) -> bool:
    """Whether this quant of the model is made with a matrix."""
    return model.settings.imatrix is not None and CATALOGUE[quant].takes_imatrix


def header_bytes(model: Model) -> int:
    """What the matrix adds to the header of a file, before padding; 0: there is none.

    Of a file of the user's that is not in the cache yet, it is that of one with a text as long in
    name as our own.
    """
    if model.settings.imatrix is None:
        return 0
    texts = {_FILE_KEY: f"./{FILE}", _TEXT_KEY: TEXT}
    long = sum(8 + len(key) + 4 + 8 + len(value) for key, value in texts.items())
    return long + sum(8 + len(key) + 4 + 4 for key in _NUMBER_KEYS)
