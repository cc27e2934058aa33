"""Has Unsloth export GGUF files, and finds what it wrote, under whatever name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jobside import Refused, emit

from .disposable import lay_out
from .loading import load

MAGIC = b"GGUF"
_SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


def export(job: dict[str, Any]) -> None:
    """Write each of `outputs` (a path by its quant), all of them in one call of Unsloth's.

    Raises:
        Refused: Unsloth does not load it, or wrote something else.
    """
    lay_out(job)
    model, tokenizer = load(job)
    emit("loaded")
    quants = [quant.lower() for quant in job["outputs"]]
    returned = model.save_pretrained_gguf(
        f"export/{job['name'] or 'model'}", tokenizer, quantization_method=quants
    )
    written = {path.resolve() for path in (*_named(returned), *Path().rglob("*.gguf"))}
    files = sorted(path for path in written if path.is_file() and "mmproj" not in path.name)
    for quant, output in job["outputs"].items():
        _of(quant, files, len(quants) == 1).replace(output)


def _named(returned: Any) -> Iterator[Path]:
    """The paths in whatever Unsloth returned: a list, a dict with `gguf_files`, one path, None."""
    if isinstance(returned, Mapping):
        returned = returned.get("gguf_files")
    if isinstance(returned, str | Path):
        returned = [returned]
    for path in returned or ():
        if isinstance(path, str | Path) and str(path).endswith(".gguf"):
            yield Path(path)


def _of(quant: str, files: list[Path], only: bool) -> Path:
    """The file of a quant: `NAME.Q4_K_M.gguf`, `unsloth.Q4_K_M.gguf`, `name-q4_k_m.gguf`."""
    ends = tuple(f"{mark}{quant.lower()}.gguf" for mark in ".-_")
    found = [file for file in files if file.name.lower().endswith(ends)]
    found = found or (files if only and len(files) == 1 else [])
    names = ", ".join(file.name for file in files) or "no GGUF at all"
    if any(_SPLIT.search(file.name) for file in files):
        raise Refused(f"Unsloth split its export, and no server takes it so: {names}")
    if not found:
        raise Refused(f"Unsloth wrote no {quant}, but {names}")
    with found[0].open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise Refused(f"Unsloth's {found[0].name} is no GGUF file")
    return found[0]
