"""Does an adapter's config claim every tensor that is stored? PEFT leaves others out silently."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deployq.source.safetensors import StoredTensor
from deployq.types import Failed, Finding

PREFIX = "base_model.model."
PART = re.compile(r"\.lora_(?P<part>A|B|embedding_A|embedding_B)(?:\.(?!bias)\w+)?(?:\.weight)?$")
_MAGNITUDE = ".lora_magnitude_vector"
_SAVE_AGAIN = "save it again with PEFT: model.save_pretrained()"
_FEW = 3


def check_stored(
    folder: Path, config: Mapping[str, Any], stored: Sequence[StoredTensor]
) -> Iterator[Finding]:
    """Hold the stored tensors of an adapter against what its config makes PEFT look for.

    Args:
        folder: names the adapter.
        config: its adapter_config.json.
        stored: every tensor of its weights.
    """
    names = [tensor.name for tensor in stored]
    lora = [name for name in names if ".lora_" in name]
    if bare := [name for name in lora if not name.startswith(PREFIX)]:
        yield _left_out(folder, bare, f"their names lack PEFT's prefix {PREFIX}", _SAVE_AGAIN)
        return
    yield from _check_kind(folder, config, lora)
    yield from _check_targets(folder, config, lora)
    yield from _check_halves(folder, stored)
    yield from _check_ranks(folder, config, stored)


def _left_out(folder: Path, names: Sequence[str], cause: str, hint: str) -> Failed:
    some = ", ".join(names[:_FEW]) + (", ..." if len(names) > _FEW else "")
    what = "1 tensor" if len(names) == 1 else f"{len(names)} tensors"
    return Failed("adapter", f"{folder}: PEFT would leave {what} out ({some}): {cause}", hint)


def _check_kind(folder: Path, config: Mapping[str, Any], lora: Sequence[str]) -> Iterator[Finding]:
    magnitudes = [name for name in lora if _MAGNITUDE in name]
    if magnitudes and not config.get("use_dora"):
        yield _left_out(
            folder,
            magnitudes,
            "they are DoRA's, and its adapter_config.json says use_dora: false",
            "set use_dora to true in adapter_config.json, if it was trained so",
        )
    if lora and config.get("use_dora") and not magnitudes:
        yield Failed(
            "adapter",
            f"{folder}: its adapter_config.json says use_dora, and it holds no lora_magnitude_"
            "vector: it would be merged as something that was never trained",
            "set use_dora to false in adapter_config.json, if it was trained so",
        )


def _check_targets(
    folder: Path, config: Mapping[str, Any], lora: Sequence[str]
) -> Iterator[Finding]:
    """Is each module one that `target_modules` or `target_parameters` finds?"""
    if config.get("ensure_weight_tying"):
        return  # what is tied to a target is one, too
    modules = dict.fromkeys(name.removeprefix(PREFIX).partition(".lora_")[0] for name in lora)
    missed = [module for module in modules if not _is_target(module, config)]
    if missed:
        names = [
            name for name in lora if name.removeprefix(PREFIX).partition(".lora_")[0] in missed
        ]
        ends = dict.fromkeys(module.rpartition(".")[2] for module in missed)
        yield _left_out(
            folder,
            names,
            "target_modules in its adapter_config.json does not cover them",
            f"add {', '.join(map(repr, ends))} to target_modules, if it was trained so",
        )


def _is_target(module: str, config: Mapping[str, Any]) -> bool:
    """By PEFT's own rules: a regular expression, or the ends of names."""
    module = re.sub(r"(?:\.base_layer)+$", "", module)
    parameters = config.get("target_parameters") or ()
    if any(_ends(module, str(name).rpartition(".")[0]) for name in parameters):
        return True
    targets = config.get("target_modules")
    if isinstance(targets, str):
        if targets == "all-linear":
            return True
        try:
            return re.fullmatch(targets, module) is not None
        except re.error:
            return True  # PEFT says so itself
    return not isinstance(targets, list) or any(_ends(module, str(name)) for name in targets)


def _ends(module: str, name: str) -> bool:
    return f".{module}".endswith(f".{name}")


def _check_halves(folder: Path, stored: Sequence[StoredTensor]) -> Iterator[Finding]:
    """Has each A its B? PEFT leaves the half that is missing as it was before training."""
    halves: dict[str, set[str]] = {}
    for tensor in stored:
        if match := PART.search(tensor.name):
            halves.setdefault(tensor.name[: match.start()], set()).add(match["part"][-1])
    if lone := [module for module, parts in halves.items() if len(parts) == 1]:
        (part,) = halves[lone[0]]
        yield Failed(
            "adapter",
            f"{folder}: holds lora_{part} of {lone[0].removeprefix(PREFIX)} alone: without its "
            f"other half it changes nothing ({len(lone)} in all)",
            _SAVE_AGAIN,
        )


def _check_ranks(
    folder: Path, config: Mapping[str, Any], stored: Sequence[StoredTensor]
) -> Iterator[Finding]:
    rank = config.get("r")
    if not isinstance(rank, int) or config.get("target_parameters") or config.get("rank_pattern"):
        return  # experts have one for each of them in a tensor
    for tensor in stored:
        match = PART.search(tensor.name)
        if match and match["part"].endswith("A") and tensor.shape and tensor.shape[0] != rank:
            yield Failed(
                "adapter",
                f"{folder}: its adapter_config.json says rank {rank}, {tensor.name} has "
                f"{tensor.shape[0]}",
                f"set r to {tensor.shape[0]} in adapter_config.json, if all have that rank",
            )
            return
