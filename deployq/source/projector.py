"""Projectors for images or sound (mmproj) beside a model: loaded with it, so they count.

Which of several is taken, and why none is, is said: a tag must not lose its vision without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deployq.errors import SourceError
from deployq.files import open_regular
from deployq.ggml import padded, tensor_bytes
from deployq.records import dataclass
from deployq.source.gguf import Header, read_header
from deployq.source.saves import SAME_TIME_SECONDS, newest, shown_date
from deployq.types import Failed, Finding, Remark

_ARCHITECTURE = b"general.architecture"
_FIRST_BYTES = 4096
PROJECTOR_TYPES = ("F16", "BF16", "F32")
"""Best first: a converter writes F16, and every backend runs it fast."""


@dataclass(frozen=True)
class Projectors:
    """The projector that a model takes, and a sentence for each of the others.

    `fault` says why none can be taken where there are some.
    """

    taken: Header | None = None
    notes: tuple[str, ...] = ()
    fault: str = ""


def model_ggufs(folder: Path) -> list[Path]:
    """The GGUF files of a folder that are no projectors."""
    return [file for file in _ggufs(folder) if not _is_projector(file)]


def _ggufs(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.suffix.lower() == ".gguf")


def _is_projector(file: Path) -> bool:
    return "mmproj" in file.name.lower() or _first_architecture(file) == b"clip"


def _first_architecture(file: Path) -> bytes:
    """The architecture that a GGUF names among its first keys; the whole header isn't read."""
    try:
        with open_regular(file) as stream:
            start = stream.read(_FIRST_BYTES)
    except (OSError, SourceError):
        return b""
    at = start.find(_ARCHITECTURE)
    value = start[at + len(_ARCHITECTURE) :] if at >= 0 else b""
    length = int.from_bytes(value[4:12], "little")  # after four bytes of type
    return value[12 : 12 + min(length, len(b"clip") + 1)]


def find_projector(model: Path, metadata: Mapping[str, Any]) -> Projectors:
    """The projector among the files beside a model.

    It fits where what it makes of an image is as wide as the model's embeddings, or a multiple of
    that (some models take images at several layers). Of several that fit the newest is taken; of
    those written together the one in F16.

    Args:
        model: the GGUF.
        metadata: of its header.
    """
    files = [f for f in _ggufs(model.parent) if f != model and _is_projector(f)]
    width = metadata.get(f"{metadata.get('general.architecture')}.embedding_length")
    fitting, misfits = [], []
    for file in files:
        try:
            header = read_header(file)
        except SourceError as exc:
            misfits.append(exc.message)
            continue
        made = [v for k, v in header.metadata.items() if k.endswith(".projection_dim")]
        if not width or not made or any(isinstance(v, int) and v % width == 0 for v in made):
            fitting.append(header)
        else:
            misfits.append(
                f"{file}: makes vectors of {made[0]} numbers, the model's have {width}: it is "
                "of another model"
            )
    if not fitting:
        return Projectors(fault="; ".join(misfits))
    latest = max(map(_changed, fitting))
    fresh = [header for header in fitting if _changed(header) > latest - SAME_TIME_SECONDS]
    taken = min(fresh, key=lambda header: (_rank(header), header.path.name))
    return Projectors(taken, (*_others(taken, fitting), *misfits))


def _others(taken: Header, fitting: Sequence[Header]) -> Iterator[str]:
    if len(fitting) > 1:
        others = ", ".join(
            f"{h.path.name} ({_dtype(h)}, {shown_date(_changed(h))})"
            for h in fitting
            if h is not taken
        )
        why = f"{_dtype(taken)}, {shown_date(_changed(taken))}"
        yield f"the projector {taken.path.name} is taken ({why}), not {others}"


def _changed(header: Header) -> float:
    return newest([header.path])


def _rank(header: Header) -> int:
    dtype = _dtype(header)
    return PROJECTOR_TYPES.index(dtype) if dtype in PROJECTOR_TYPES else len(PROJECTOR_TYPES)


def _dtype(header: Header) -> str:
    """The type of its largest tensor."""
    largest = max(header.tensors, key=lambda tensor: tensor.n_elements, default=None)
    return largest.type if largest else "empty"


def check_projector(model: Path, metadata: Mapping[str, Any]) -> Iterator[Finding]:
    """Can the projectors that lie beside a model be used, and which one is?"""
    found = find_projector(model, metadata)
    if found.fault:
        yield Failed(
            "projector",
            f"{found.fault}; the tags would take no images and no sound",
            f"put the model's own mmproj into {model.parent} instead; or leave that part out: "
            "projector = false under [models.NAME], --allow projector",
        )
    for note in found.notes:
        yield Remark("projector", note)


def projector_of(model: Path, metadata: Mapping[str, Any]) -> Header | None:
    """The header of the projector that is taken with a model."""
    return find_projector(model, metadata).taken


def projector_bytes(header: Header | None) -> int:
    """The bytes of its weights once they are loaded."""
    tensors = header.tensors if header is not None else ()
    return sum(padded(tensor_bytes(tensor.shape, tensor.type)) for tensor in tensors)


def projector_note(n_bytes: int) -> Iterator[str]:
    """Says that a projector is counted, where there is one."""
    if n_bytes:
        yield f"weights of a projector for images or sound are counted: {n_bytes:,} bytes"
