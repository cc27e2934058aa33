"""Is a merged model its base plus the adapter? Reckoned from the files, without Unsloth."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jobside import Refused, emit
from safetensors import safe_open

from .loading import WEIGHTS

_SAMPLED = 6
_TOLERANCE = 0.02
_PREFIX = "base_model.model."


def prove(adapter: Path, base: Path, merged: Path) -> None:
    """Hold some merged matrices against base + scaled BA, in float64.

    Raises:
        Refused: one is something else, or still the base's own.
    """
    config = json.loads((adapter / "adapter_config.json").read_bytes())
    if not (adapter / WEIGHTS).is_file():
        emit("note", text="Unsloth's merge was not reckoned again: the adapter is no safetensors")
        return
    before, after = _Weights(base), _Weights(merged)
    exact = not (config.get("use_dora") or config.get("rank_pattern"))
    exact = exact and not config.get("alpha_pattern")
    checked = 0
    for name, delta in _deltas(adapter / WEIGHTS, config):
        old, new = before.get(name), after.get(name)
        if old is None or new is None or old.shape != delta.shape or old.shape != new.shape:
            continue  # fused or renamed by the architecture: nothing to hold it against
        checked += 1
        _require(adapter, name, (old, new), old + delta if exact else None)
        if checked == _SAMPLED:
            break
    what = "are base + scaled BA" if exact else "are not their base's any more"
    emit("note", text=f"merged by Unsloth: {checked} sampled matrices {what}")


def _require(
    adapter: Path, name: str, seen: tuple[torch.Tensor, torch.Tensor], wanted: torch.Tensor | None
) -> None:
    old, new = seen
    if torch.equal(old, new):
        raise Refused(f"{adapter}: Unsloth merged nothing: {name} is still its base's", "adapter")
    off = 0.0 if wanted is None else float((new - wanted).norm() / wanted.norm())
    if not off < _TOLERANCE:
        raise Refused(
            f"{adapter}: merged wrongly by Unsloth: {name} is {off:.1%} away from base + scaled BA",
            "adapter",
            "leave --backend unsloth out: deployq merges adapters with PEFT as well",
        )


def _deltas(weights: Path, config: dict[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """Scaled BA of matrices all over the model, by the name of the base's tensor."""
    rank, alpha = config["r"], config["lora_alpha"]
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    with safe_open(weights, "pt") as tensors:
        names = [n for n in tensors.keys() if n.endswith(".lora_A.weight")]  # noqa: SIM118
        for name in sorted(names)[:: max(1, len(names) // _SAMPLED)]:
            a = tensors.get_tensor(name).double()
            b = tensors.get_tensor(name.replace(".lora_A.", ".lora_B.")).double()
            if a.ndim == b.ndim == 2:
                module = name.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
                yield f"{module}.weight", scale * (b @ a)


class _Weights:
    """The tensors of a folder, in one file or several."""

    def __init__(self, folder: Path) -> None:
        self._place: dict[str, Path] = {}
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, "pt") as tensors:
                self._place |= dict.fromkeys(tensors.keys(), file)

    def get(self, name: str) -> torch.Tensor | None:
        if name not in self._place:
            return None
        with safe_open(self._place[name], "pt") as tensors:
            found: torch.Tensor = tensors.get_tensor(name).double()
        return found
