"""Loads a folder in the class that it was saved from, and reads an adapter's tensors by name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

PREFIX = "base_model.model."
"""What PEFT puts before the name of each tensor of an adapter."""
_WRAPPERS = re.compile(r"^(?:(?:model|language_model|text_model)\.)*")
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_GENERATES: type = transformers.GenerationMixin


def load_model(folder: Path, dtype: torch.dtype, *, trusted: bool = False) -> Any:
    """The model in the class that its config names: those that also see have no causal class.

    A class that writes no text, or that comes with the folder, is left to transformers' choice.
    """
    config = json.loads((folder / "config.json").read_bytes())
    named = [] if "auto_map" in config else config.get("architectures") or []
    classes = (getattr(transformers, str(name), None) for name in named)
    # GenerationMixin also tells a model from a class that only happens to have its name
    writes = (c for c in classes if isinstance(c, type) and issubclass(c, _GENERATES))
    if (found := next(writes, None)) is not None:
        return found.from_pretrained(folder, dtype=dtype, low_cpu_mem_usage=True)  # type: ignore[attr-defined]
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, low_cpu_mem_usage=True, trust_remote_code=trusted
    )


def read_shapes(adapter: Path) -> Mapping[str, tuple[int, ...]]:
    """Every tensor that an adapter holds, by the name it was saved under."""
    with _opened(adapter) as (names, _, shape_of):
        return {name: tuple(shape_of(name)) for name in names}


def read_tensors(adapter: Path, names: set[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of an adapter that go by these names."""
    with _opened(adapter) as (there, read, _):
        yield from ((name, read(name)) for name in there if name in names)


def plain_name(name: str) -> str:
    """A module's name without what versions of transformers put in front of it."""
    return _WRAPPERS.sub("", name.removeprefix(PREFIX))


def renamings(modules: Iterable[str], left: Iterable[str]) -> Mapping[str, str]:
    """Patterns from an adapter's names to this version's, for tensors that no module took.

    transformers moved the text part of a model that sees (`model.layers` became
    `model.language_model.layers`), and one may have been trained by itself.

    Args:
        modules: the names that modules have now.
        left: the stored names of those tensors.
    """
    by_plain: dict[str, list[str]] = {}
    for name in modules:
        by_plain.setdefault(plain_name(name), []).append(name)
    found: dict[str, str] = {}
    for stored in left:
        module = stored.removeprefix(PREFIX).partition(".lora_")[0]
        plain = plain_name(module)
        now = by_plain.get(plain, [])
        if len(now) == 1 and now[0] != module:
            first = re.escape(plain.partition(".")[0])
            before = re.escape(module.removesuffix(plain))
            found[rf"^{before}(?={first}\.)"] = now[0].removesuffix(plain)
    return found


@contextmanager
def _opened(adapter: Path) -> Iterator[Any]:
    """The names of an adapter's tensors, what reads one, and what tells a shape by the header."""
    from safetensors import safe_open

    if (adapter / WEIGHTS[0]).is_file():
        with safe_open(adapter / WEIGHTS[0], "pt") as file:
            yield list(file.keys()), file.get_tensor, lambda name: file.get_slice(name).get_shape()
        return
    pickled = torch.load(adapter / WEIGHTS[1], map_location="cpu", weights_only=True)
    yield list(pickled), pickled.__getitem__, lambda name: pickled[name].shape
