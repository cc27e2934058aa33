"""`hf:ORG/NAME[/WITHIN][@REVISION]`, and which files of such a repository make the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from deployq.errors import ConfigError, SourceError
from deployq.records import dataclass
from deployq.source.finding import ADAPTER_CONFIG, is_part, kind_of_file
from deployq.source.projector import PROJECTOR_TYPES

PREFIX = "hf:"
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FULL = re.compile(r"(?:^|[-._])(bf16|f16|fp16|f32|fp32)(?=[-._])", re.IGNORECASE)
_SPLIT = re.compile(r"-\d{5}-of-\d{5}(?=\.)")
_SMALL = {".json", ".model", ".txt", ".jinja", ".tiktoken", ".py"}
_OF_TRAINING = ("trainer_state.json", "all_results.json", "train_results.json", "eval_results.json")
_BEST_FIRST = ("bf16", "f16", "fp16", "f32", "fp32")
_TEMPLATES = "additional_chat_templates"
# The order in which transformers looks for them; a repository's files have no dates.
_MODEL = (
    r"model\.safetensors",
    r"model-\d{5}-of-\d{5}\.safetensors",
    r"(?!consolidated|adapter_).*\.safetensors",
    r"pytorch_model.*\.bin",
)
_ADAPTER = (r"adapter_model\.safetensors", r"adapter_model\.bin")


@dataclass(frozen=True)
class HubName:
    """A repository of the hub, and what of it is meant.

    `within` is a folder in it, a GGUF, or a file of a model or an adapter, "" for all of it;
    `revision` a branch, a tag or a commit, "" for the default branch.
    """

    repo: str
    within: str = ""
    revision: str = ""

    @classmethod
    def parse(cls, text: str) -> HubName:
        """Read `hf:ORG/NAME[/WITHIN][@REVISION]`.

        Raises:
            ConfigError: it is none.
        """
        path, _, revision = text.removeprefix(PREFIX).partition("@")
        parts = path.strip("/").split("/")
        well = all(part not in ("", ".", "..") for part in parts) and "\\" not in path
        named = len(parts) > 1 and all(_PART.fullmatch(part) for part in parts[:2])
        if not well or not named or ".." in revision or ("@" in text and not revision):
            raise ConfigError(
                f"{text!r} names no model of the Hugging Face hub", hint="hf:ORG/NAME@REVISION"
            )
        return cls("/".join(parts[:2]), "/".join(parts[2:]), revision)

    def at(self, commit: str) -> str:
        """The same, pinned to a commit, as it is written."""
        return f"{self}@{commit}"

    @property
    def called(self) -> str:
        """Its own name, without who it is of."""
        place = self.folder if is_part(self.within) else self.within
        return (place or self.repo).rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The folder of the repository that is meant; that of a file's model."""
        return _folder(self.within) if is_part(self.within) else self.within

    @property
    def is_pinned(self) -> bool:
        return bool(_COMMIT.fullmatch(self.revision))

    def __str__(self) -> str:
        return PREFIX + "/".join(filter(None, (self.repo, self.within)))


@dataclass(frozen=True)
class Wanted:
    """The files of a repository that make the model.

    `weights` have a header that can be read alone, unless `pickled`. `gguf` is the first part of
    what is taken where that is a GGUF, `why` says why it. `projector` is one of the weights: what a
    GGUF needs for images or sound.
    """

    small: tuple[str, ...]
    weights: tuple[str, ...]
    gguf: str = ""
    why: str = ""
    projector: str = ""

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.small, *self.weights)

    @property
    def pickled(self) -> bool:
        return any(name.endswith(".bin") for name in self.weights)


def wanted_files(name: HubName, files: Mapping[str, int]) -> Wanted:
    """What to take of a repository: a whole model or an adapter, else the one GGUF.

    Args:
        name: of the repository; a folder or a file in it.
        files: every file of it, with its size in bytes.

    Raises:
        SourceError: there is no model, or several GGUFs of which none or more than one is meant.
    """
    if name.within.endswith(".gguf"):
        if name.within not in files:
            raise _nothing(name, files)
        return _gguf(files, name.within, "")
    folder = name.folder
    here = {f: PurePosixPath(f) for f in files if _folder(f) in (folder, _templates(folder))}
    weights = _weights(name, {p.name: f for f, p in here.items() if _folder(f) == folder})
    if weights:
        small = [f for f, p in here.items() if p.suffix in _SMALL and p.name not in _OF_TRAINING]
        return Wanted(tuple(sorted(small)), tuple(sorted(weights)))
    return _chosen_gguf(name, files)


def _folder(file: str) -> str:
    return file.rpartition("/")[0]


def _templates(folder: str) -> str:
    return "/".join(filter(None, (folder, _TEMPLATES)))


def _weights(name: HubName, by_name: Mapping[str, str]) -> list[str]:
    """The weights of the whole model or of the adapter in a folder; with both, of the one named.

    Raises:
        SourceError: both are there.
    """
    model, adapter = (
        _first_format(by_name, config, patterns)
        for config, patterns in (("config.json", _MODEL), (ADAPTER_CONFIG, _ADAPTER))
    )
    if is_part(name.within):
        return adapter if kind_of_file(PurePosixPath(name.within).name) == "adapter" else model
    if model and adapter:
        raise SourceError(
            f"{name}: holds a whole model and a LoRA adapter, and nothing tells whether the model "
            "is the adapter's base, or has it merged in already",
            hint=f"name the one that is meant: hf:{name.repo}/{min(model)} is the model as it is, "
            f"hf:{name.repo}/{min(adapter)} the adapter, merged into the base that it names",
        )
    return model or adapter


def _first_format(by_name: Mapping[str, str], config: str, patterns: Iterable[str]) -> list[str]:
    """A repository can hold its weights in several formats: the first of these that is there."""
    for pattern in patterns if config in by_name else ():
        if found := [file for name, file in by_name.items() if re.fullmatch(pattern, name)]:
            return found
    return []


def _chosen_gguf(name: HubName, files: Mapping[str, int]) -> Wanted:
    """The GGUF in full precision; of several, the one that was not made from another."""
    below = f"{name.within}/" if name.within else ""
    ggufs = [f for f in files if f.startswith(below) and _is_gguf(f)]
    if not ggufs:
        raise _nothing(name, files)
    full = {kind: f for f in ggufs if (kind := _precision(f))}
    first = next((full[kind] for kind in _BEST_FIRST if kind in full), "")
    if len([f for f in ggufs if _precision(f) == _precision(first)]) > 1 or not first:
        if len(ggufs) == 1:
            return _gguf(files, ggufs[0], "")
        raise _several(name, ggufs, first)
    others = len(ggufs) - 1
    why = f"{first} is in full precision; passed over: {_listed(ggufs, first)}" if others else ""
    return _gguf(files, first, why)


def _is_gguf(file: str) -> bool:
    """A model, counted once where it is split."""
    part = _SPLIT.search(file)
    first = part is None or part.group().startswith("-00001-")
    return file.endswith(".gguf") and "mmproj" not in file.lower() and first


def _precision(file: str) -> str:
    found = _FULL.search(PurePosixPath(file).name)
    return found.group(1).lower() if found else ""


def _gguf(files: Iterable[str], first: str, why: str) -> Wanted:
    stem = _SPLIT.sub("", first)
    parts = sorted(f for f in files if _SPLIT.sub("", f) == stem and (f == first or f != stem))
    weights = tuple(parts) if _SPLIT.search(first) else (first,)
    projector = _projector(files, first)
    return Wanted((), (*weights, *filter(None, [projector])), first, why, projector)


def _projector(files: Iterable[str], gguf: str) -> str:
    """The projector of a GGUF: beside it, else in the repository's root; F16 before others."""
    found = [f for f in files if f.lower().endswith(".gguf") and "mmproj" in f.lower()]
    near = [f for f in found if _folder(f) == _folder(gguf)] or [f for f in found if "/" not in f]
    return min(near, key=lambda file: (_projector_rank(file), file), default="")


def _projector_rank(file: str) -> int:
    kind = _precision(file).replace("fp", "f")
    return PROJECTOR_TYPES.index(kind.upper()) if kind.upper() in PROJECTOR_TYPES else 9


def _listed(files: Iterable[str], but: str = "") -> str:
    names = [file for file in sorted(files) if file != but]
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more


def _several(name: HubName, ggufs: list[str], first: str) -> SourceError:
    what = "more than one of them could be meant" if first else "none is named as full precision"
    return SourceError(
        f"{name}: holds {len(ggufs)} GGUF models, and {what}: {_listed(ggufs)}",
        hint=f"name the file: hf:{name.repo}/{min(ggufs)}; or the repository that they were "
        "made from",
    )


def _nothing(name: HubName, files: Iterable[str]) -> SourceError:
    return SourceError(
        f"{name}: holds no model: no safetensors with a config.json, no LoRA adapter, no GGUF; "
        f"it has {_listed(files) or 'no file'}",
        hint="hf:ORG/NAME/FOLDER for a folder in it, hf:ORG/NAME/FILE.gguf for a file",
    )
