"""Which of the things in a folder is the model: what TRL, Axolotl and Unsloth leave behind.

A training folder holds checkpoints, optimizer states, an adapter and a merged model side by side.
One of them is chosen by rules that can be told in a sentence, and that sentence is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from deployq.errors import DeployqError, SourceError
from deployq.files import require_target
from deployq.foreign_values import ForeignObject, read_object
from deployq.ggml import NATIVE_TYPES, TYPES
from deployq.records import dataclass
from deployq.source.gguf import read_header
from deployq.source.projector import model_ggufs
from deployq.source.saves import SAME_TIME_SECONDS, choose_save, newest, shown_date

Kind = Literal["gguf", "model", "adapter"]
ADAPTER_CONFIG = "adapter_config.json"
_CHECKPOINT = re.compile(r"(?:global_)?(?:checkpoint|epoch|step|iter)[-_]?(\d+)", re.IGNORECASE)
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_SKIPPED = {"wandb", "runs", "logs", "tensorboard", "optimizer", "__pycache__"}
_DEPTH = 3
_OF_A_MODEL = {".json", ".safetensors", ".bin", ".gguf", ".model", ".jinja", ".txt"}
_SHARDED_STATES = ("zero_to_fp32.py", "pytorch_model_fsdp_0", "mp_rank_00_model_states.pt")


@dataclass(frozen=True)
class Found:
    """The chosen source: `why` it, and not what was passed over, in a sentence each."""

    path: Path
    kind: Kind
    why: str = ""
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Candidate:
    path: Path
    kind: Kind
    changed: float
    packed: str = ""  # how it is quantized already; empty: it is not

    @property
    def step(self) -> int | None:
        """Its number, where it or a folder above is a checkpoint."""
        match = _CHECKPOINT.fullmatch(self.path.name)
        return int(match[1]) if match else None

    @property
    def merged(self) -> bool:
        return "merge" in self.path.name.lower()

    def is_older_than(self, other: _Candidate) -> bool:
        return self.changed < other.changed - SAME_TIME_SECONDS


def find_source(path: Path, prefer: Kind | None = None) -> Found:
    """The model in a folder that training left; a file, or a folder with just one, is itself.

    Args:
        path: the folder, a GGUF, or a file of the model or the adapter that is meant.
        prefer: what is meant where the folder itself holds both an adapter and a whole model.

    Raises:
        SourceError: there is none, or there are several and no rule says which.
    """
    if not path.is_dir():
        return _named_file(path)
    try:
        found = _find(path, prefer)
        _require_links(found.path)
    except OSError as exc:
        raise SourceError(f"{exc.filename or path}: can't be read: {exc.strerror or exc}") from exc
    return found


def _find(path: Path, prefer: Kind | None) -> Found:
    below = [c for folder in _folders(path, _DEPTH) for c in _candidates(folder)]
    own = list(_candidates(path))
    if own:
        return _from_own(path, own, below, prefer)
    usable = [c for c in below if not c.packed]
    if usable:
        return _from_below(path, usable, below)
    raise _nothing(path, below)


def _named_file(file: Path) -> Found:
    """A GGUF; or the adapter or the whole model that a file is a part of."""
    kind = kind_of_file(file.name)
    if kind == "gguf":
        return Found(file, kind)
    others = [c for c in _candidates(file.parent) if c.kind != kind]
    return Found(file.parent, kind, f"{file.name} was named", _passed(file.parent, others, None))


def kind_of_file(name: str) -> Kind:
    """What somebody means who names a file: a GGUF, or what it is a part of."""
    if not is_part(name):
        return "gguf"
    return "adapter" if name.startswith("adapter_") else "model"


def is_part(name: str) -> bool:
    """Checks that a file of this name is a part of a whole model, or of an adapter."""
    ends = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json")
    return name.endswith(ends) or name == ADAPTER_CONFIG


# ---------------------------------------------------------------- the rules


def _from_own(
    root: Path, own: list[_Candidate], below: list[_Candidate], prefer: Kind | None
) -> Found:
    """The folder itself holds something: that, unless it is an adapter that was merged below."""
    whole = [c for c in own if c.kind != "adapter" and not c.packed]
    adapter = next((c for c in own if c.kind == "adapter"), None)
    if adapter is not None and not whole:
        beside = [c for c in own if c is not adapter]
        return _adapter_or_merged(root, adapter, [*beside, *below])
    usable = [c for c in whole if c.kind == prefer] or whole or own
    latest = max(usable, key=lambda c: c.changed)
    plain = [c for c in usable if c.kind == "gguf"]
    fresh = [c for c in plain if not c.is_older_than(latest)]
    if fresh and len(plain) > 1:
        return Found(root, "gguf")  # inspect names them all
    chosen = fresh[0] if fresh else latest
    others = [c for c in (*own, *below) if c is not chosen]
    if adapter is not None:
        return _beside_adapter(root, adapter, chosen, others, prefer)
    why = "" if not others else f"{_shown(root, chosen)} is {_what(chosen)}"
    return Found(chosen.path, chosen.kind, why, _passed(root, others, chosen))


def _beside_adapter(
    root: Path,
    adapter: _Candidate,
    model: _Candidate,
    others: list[_Candidate],
    prefer: Kind | None,
) -> Found:
    """An adapter and a whole model in one folder: its base, or the two of them merged?

    A base was there before the training, a merged model comes after it. Files that were copied or
    downloaded together have no such order.
    """
    named = _glance(root / ADAPTER_CONFIG).text("base_model_name_or_path") or "BASE"
    if prefer is not None:
        why = "it is what was asked for"
    elif (root / named).resolve() == root.resolve():
        prefer, why = "adapter", "it names the model beside it as its base"
    elif model.is_older_than(adapter):
        prefer, why = "adapter", "the model beside it is older, so it can't be a merge of it"
    elif adapter.is_older_than(model):
        prefer, why = model.kind, "it is newer than the adapter beside it, so taken as its merge"
    else:
        raise _unclear(root, model, named)
    chosen = adapter if prefer == "adapter" else model
    rest = [c for c in (adapter, model, *others) if c is not chosen]
    rest = list(dict.fromkeys(rest))
    label = f"{_shown(root, chosen)} is {_what(chosen)}"
    return Found(chosen.path, chosen.kind, f"{label}; {why}", _passed(root, rest, chosen))


def _unclear(root: Path, model: _Candidate, named: str) -> SourceError:
    file = model.path if model.kind == "gguf" else next(iter(model_weights(root)), root)
    return SourceError(
        f"{root}: holds a LoRA adapter and {_what(model)}, written together: nothing tells whether "
        "that is its base, or has it merged in already",
        hint=f"merged: deployq push {file}; not merged: deployq push {root} --base {named}, or "
        f"--base {root} where that is its base",
    )


def _adapter_or_merged(root: Path, adapter: _Candidate, below: list[_Candidate]) -> Found:
    merged = [c for c in below if c.kind == "model" and c.merged and not c.packed]
    if len(merged) == 1 and not merged[0].is_older_than(adapter):
        why = (
            f"{_shown(root, merged[0])} is the adapter merged into its base, and newer than it "
            f"({_dated(merged[0])})"
        )
        rest = [c for c in (adapter, *below) if c is not merged[0]]
        return Found(merged[0].path, "model", why, _passed(root, rest, merged[0]))
    why = f"it is {_what(adapter)}"
    if merged:
        why += f"; {_shown(root, merged[0])} is older than it, so not a merge of it"
    return Found(adapter.path, adapter.kind, why, _passed(root, below, adapter))


def _from_below(root: Path, usable: list[_Candidate], below: list[_Candidate]) -> Found:
    """Nothing in the folder itself: a merged model, else an adapter, else a whole model."""
    final = [c for c in usable if c.step is None]
    if not final:
        return _latest_checkpoint(root, usable)
    adapters = [c for c in final if c.kind == "adapter"]
    merged = [c for c in final if c.kind != "adapter" and (c.merged or not adapters)]
    if len(merged) == 1 and not any(merged[0].is_older_than(a) for a in adapters):
        chosen, why = merged[0], "it is the finished model"
        if adapters:
            why = "it is merged, and newer than the adapter beside it"
        why += f" ({_dated(chosen)})"
    elif len(adapters) == 1 and len(merged) <= 1:
        chosen, why = adapters[0], f"it is {_what(adapters[0])}"
        if merged:
            why += f"; {_shown(root, merged[0])} is older than it"
    else:
        raise _several(root, merged or adapters)
    rest = [c for c in below if c is not chosen]
    return Found(
        chosen.path, chosen.kind, f"{_shown(root, chosen)}: {why}", _passed(root, rest, chosen)
    )


def _latest_checkpoint(root: Path, checkpoints: list[_Candidate]) -> Found:
    chosen = max(checkpoints, key=lambda c: (c.step or 0, c.changed))
    why = (
        f"{_shown(root, chosen)} is the latest checkpoint, {_dated(chosen)}; the training saved no "
        "final model"
    )
    best = _best(chosen.path)
    if best and best != chosen.path.name:
        why += f" (its own record calls {best} the best: name that folder to take it)"
    rest = [c for c in checkpoints if c is not chosen]
    return Found(chosen.path, chosen.kind, why, _passed(root, rest, chosen))


def _best(checkpoint: Path) -> str:
    best = _glance(checkpoint / "trainer_state.json").values.get("best_model_checkpoint")
    return Path(best).name if isinstance(best, str) else ""


def _passed(root: Path, others: Iterable[_Candidate], chosen: _Candidate | None) -> tuple[str, ...]:
    """A sentence for each thing that was not taken; checkpoints in one."""
    others = list(others)

    def newer(those: Iterable[_Candidate]) -> bool:
        return chosen is not None and any(chosen.is_older_than(one) for one in those)

    notes = [
        f"{_shown(root, c)}: {_what(c)}" + (", newer than what is taken" if newer([c]) else "")
        for c in others
        if c.step is None
    ]
    checkpoints = [c for c in others if c.step is not None]
    if steps := sorted(c.step for c in checkpoints if c.step is not None):
        late = ""
        if newer(checkpoints):
            final = chosen is not None and chosen.step is None
            late = ", newer than " + ("the model" if final else "the one that is taken")
        last = f" to {steps[-1]}" if len(steps) > 1 else ""
        dated = _dated(max(checkpoints, key=lambda c: c.changed))
        notes.append(f"checkpoint {steps[0]}{last}: {len(steps)} in all, the last {dated}{late}")
    return tuple(notes)


def _what(candidate: _Candidate) -> str:
    if candidate.packed:
        return f"quantized already ({candidate.packed}), {_dated(candidate)}"
    what = {
        "gguf": "a full-precision GGUF",
        "model": "a whole model",
        "adapter": "a LoRA adapter",
    }[candidate.kind]
    return f"{what} {_dated(candidate)}"


def _dated(candidate: _Candidate) -> str:
    return f"of {shown_date(candidate.changed)}"


def _shown(root: Path, candidate: _Candidate) -> str:
    relative = candidate.path.relative_to(root)
    return str(relative) if relative.parts else root.resolve().name


def _several(root: Path, found: list[_Candidate]) -> SourceError:
    names = ", ".join(f"{_shown(root, c)} ({_what(c)})" for c in found)
    return SourceError(
        f"{root}: holds {len(found)} models that could be meant: {names}",
        hint=f"name the one that is meant, such as {found[0].path}",
    )


def _nothing(root: Path, below: list[_Candidate]) -> SourceError:
    _require_links(root)
    if below:
        packed = below[0]
        return SourceError(
            f"{root}: holds only {_shown(root, packed)}, which is {_what(packed)}",
            hint="merge the adapter into the full-precision base, and give that folder",
        )
    for name in _SHARDED_STATES:
        if any(root.glob(name)) or any(root.glob(f"*/{name}")):
            return SourceError(
                f"{root}: holds the sharded state of a training, no model",
                hint="put it together first: zero_to_fp32.py (DeepSpeed), or "
                "accelerate merge-weights (FSDP)",
            )
    return SourceError(
        f"{root}: holds no model: no GGUF, no config.json with safetensors, no LoRA adapter",
        hint="give the folder that save_pretrained wrote",
    )


# ---------------------------------------------------------------- looking


def _folders(root: Path, depth: int) -> Iterator[Path]:
    if depth == 0:
        return
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        if folder.is_symlink() and root.resolve().is_relative_to(folder.resolve()):
            continue  # a link upwards: all below it would be looked at again
        if not folder.name.startswith(".") and folder.name not in _SKIPPED:
            yield folder
            if not _CHECKPOINT.fullmatch(folder.name):
                yield from _folders(folder, depth - 1)


def _candidates(folder: Path) -> Iterator[_Candidate]:
    """What lies in one folder, without those below it."""
    if weights := model_weights(folder):
        yield _Candidate(folder, "model", newest(weights), packed_by(folder))
    adapter = [folder / n for n in _ADAPTER_WEIGHTS if (folder / n).is_file()]
    if adapter and (folder / ADAPTER_CONFIG).is_file():
        yield _Candidate(folder, "adapter", newest(adapter))
    for file in model_ggufs(folder):
        if not re.search(r"-(?!00001)\d{5}-of-\d{5}\.", file.name):
            yield _Candidate(file, "gguf", file.stat().st_mtime, _gguf_packed(file))


def model_weights(folder: Path) -> list[Path]:
    """The weight files of a whole model in this folder; empty: there is none."""
    if not (folder / "config.json").is_file():
        return []
    choice = choose_save(folder)
    saves = (choice.taken,) if choice.taken else choice.others
    return [file for save in saves for file in save.files or filter(None, [save.index])]


def packed_by(folder: Path) -> str:
    """How a Hugging Face model is quantized already; empty where a converter can read it."""
    config = _glance(folder / "config.json").values
    stated = config.get("quantization_config")
    method = stated.get("quant_method") if isinstance(stated, dict) else None
    classes = config.get("architectures")
    if method == "mxfp4" and _holds(classes, TRAINED_IN_MXFP4):
        return ""
    return str(method) if method and method not in UNPACKED_BY_CONVERTER else ""


UNPACKED_BY_CONVERTER = ("fp8",)
"""Formats that models are published in, whose full values llama.cpp's converter restores."""

TRAINED_IN_MXFP4 = frozenset({"GptOssForCausalLM"})
"""Models that have no other full precision: the converter takes their blocks as they are."""


def _gguf_packed(file: Path) -> str:
    try:
        kinds = {tensor.type for tensor in read_header(file).tensors}
    except DeployqError:
        return "damaged"
    lossy = (k for k in kinds if TYPES[k].quantized and k not in NATIVE_TYPES)
    return ", ".join(sorted(lossy)[:2])


def _require_links(folder: Path) -> None:
    """Checks that no file of a model is a link to nothing, as a pruned hub cache leaves them.

    Raises:
        SourceError: one is.
    """
    files = sorted(folder.iterdir()) if folder.is_dir() else [folder]
    for file in files:
        if file.suffix in _OF_A_MODEL:
            require_target(file)


def _glance(file: Path) -> ForeignObject:
    """What decides nothing but which folder it is; whoever reads that one says what is wrong."""
    try:
        return read_object(file)
    except SourceError:
        return ForeignObject()


def _holds(words: object, wanted: Iterable[str]) -> bool:
    return isinstance(words, list) and any(word in words for word in wanted)
