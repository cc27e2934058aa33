"""`hf:ORG/NAME[/WITHIN][@REVISION]`, and which files of such a repository make the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from deployq.errors import ConfigError, SourceError
from deployq.records import dataclass

PREFIX = "hf:"
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FULL = re.compile(r"(?:^|[-._])(bf16|f16|fp16|f32|fp32)(?=[-._])", re.IGNORECASE)
_SPLIT = re.compile(r"-\d{5}-of-\d{5}(?=\.)")
_SMALL = {".json", ".model", ".txt", ".jinja", ".tiktoken", ".py"}
_OF_TRAINING = ("trainer_state.json", "all_results.json", "train_results.json", "eval_results.json")
_BEST_FIRST = ("bf16", "f16", "fp16", "f32", "fp32")
_TEMPLATES = "additional_chat_templates"


@dataclass(frozen=True)
class HubName:
    """A repository of the hub, and what of it is meant.

    `within` is a folder or a GGUF in it, "" for all of it; `revision` a branch, a tag or a commit,
    "" for the default branch.
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
        return (self.within or self.repo).rpartition("/")[2]

    @property
    def is_pinned(self) -> bool:
        return bool(_COMMIT.fullmatch(self.revision))

    def __str__(self) -> str:
        return PREFIX + "/".join(filter(None, (self.repo, self.within)))


@dataclass(frozen=True)
class Wanted:
    """The files of a repository that make the model.

    `weights` have a header that can be read alone, unless `pickled`. `gguf` is the first part of
    what is taken where that is a GGUF, `why` says why it.
    """

    small: tuple[str, ...]
    weights: tuple[str, ...]
    gguf: str = ""
    why: str = ""

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
    here = {f: PurePosixPath(f) for f in files if _folder(f) in (name.within, _templates(name))}
    weights = _weights({p.name: f for f, p in here.items() if _folder(f) == name.within})
    if weights:
        small = [f for f, p in here.items() if p.suffix in _SMALL and p.name not in _OF_TRAINING]
        return Wanted(tuple(sorted(small)), tuple(sorted(weights)))
    return _chosen_gguf(name, files)


def _folder(file: str) -> str:
    return file.rpartition("/")[0]


def _templates(name: HubName) -> str:
    return "/".join(filter(None, (name.within, _TEMPLATES)))


def _weights(by_name: Mapping[str, str]) -> list[str]:
    """A repository can hold its weights in several formats: the first of these that is there."""
    if not {"config.json", "adapter_config.json"} & by_name.keys():
        return []
    for pattern in (
        r"model-\d{5}-of-\d{5}\.safetensors|adapter_model\.safetensors",
        r"(adapter_)?model\.safetensors",
        r"(?!consolidated).*\.safetensors",
        r"(pytorch_model.*|adapter_model)\.bin",
    ):
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
    return Wanted((), tuple(parts) if _SPLIT.search(first) else (first,), first, why)


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
