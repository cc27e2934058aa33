"""What a backend is asked for, and what the store holds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from deployq.records import dataclass


@dataclass(frozen=True)
class MadeFrom:
    """What a GGUF was converted from: a Hugging Face folder, or an adapter's and its base.

    `name` is the model's, `allow` lists what was trusted by name: "code" (that comes with it).
    """

    folder: Path
    base: Path | None = None
    name: str = ""
    allow: frozenset[str] = frozenset()


@dataclass(frozen=True)
class QuantizeJob:
    """One file for a backend to write.

    `source` is a full-precision GGUF (the first part of a split one), `output` a path in an
    existing folder where nothing stands yet. `threads` None means: the backend's default.
    `imatrix` is an importance matrix (GGUF) to quantize with. `made_from` says what `source` was
    converted from, where it was.
    """

    source: Path
    quant: str
    output: Path
    threads: int | None = None
    allow_requantize: bool = False
    imatrix: Path | None = None
    made_from: MadeFrom | None = None


@dataclass(frozen=True)
class ConvertJob:
    """One full-precision GGUF for a converter to write.

    `source` is a Hugging Face folder, or the folder of a LoRA adapter that goes onto the model in
    `base`. `output` is a path in an existing folder where nothing stands yet, `scratch` an empty
    folder for what is needed in between. `dtype` is what matrices are written as: "F32", "F16" or
    "BF16". `pre_tokenizer` names llama.cpp's pre-tokenizer where the converter doesn't recognise
    the model's own. `allow` lists what was trusted by name: "code" (that comes with a model).
    """

    source: Path
    output: Path
    scratch: Path
    dtype: str
    name: str = ""
    base: Path | None = None
    pre_tokenizer: str = ""
    allow: frozenset[str] = frozenset()
    mode: Literal["model", "adapter", "projector"] = "model"


@dataclass(frozen=True)
class Finding:
    """What a check of a source came to: `Failed`, a `Remark` or a `NotRun`.

    `check` is its name, as `allow` in deployq.toml takes it. A check with nothing to say passed.
    """

    check: str
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Failed(Finding):
    """The check ran, and the source failed it: the work stops, unless `allow` names the check."""


@dataclass(frozen=True)
class Remark(Finding):
    """The check ran, and found what a person should know; nothing stops."""


@dataclass(frozen=True)
class NotRun(Finding):
    """The check could not run: a tool or memory is missing, or a tool broke. Nothing stops."""


@dataclass(frozen=True)
class SourceCheck:
    """What a converter says of a source: what is wrong, and how its tokenizer splits some texts.

    `token_ids` has an entry for each text; none where the tokenizer could not be asked.
    """

    findings: tuple[Finding, ...] = ()
    token_ids: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Artifact:
    """A finished, read-only GGUF in the store.

    `key` is the sha256 of what went into it, `digest` the sha256 (hex) of its bytes,
    `imatrix_digest` that of the importance matrix it was quantized with, if there was one.
    """

    path: Path
    quant: str
    key: str
    digest: str
    file_bytes: int
    backend: str
    backend_version: str
    seconds: float = 0.0
    reused: bool = False
    imatrix_digest: str = ""


@dataclass(frozen=True)
class Part:
    """What is registered beside a model's weights: a LoRA adapter, or a projector (mmproj).

    `file_name` is what its Modelfile calls it; it holds the beginning of the file's digest, so that
    another part makes another Modelfile.
    """

    kind: Literal["adapter", "projector"]
    file_name: str
    artifact: Artifact
