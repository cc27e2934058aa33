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

_OFF_SHARE = 0.02
_PREFIX = "base_model.model."
_PISSA, _OLORA, _BY_CHANCE = "pissa", "olora", "pissa_niter_"
_AS_BASE = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
"""Ways to initialize LoRA that leave the base as it is."""


def prove(adapter: Path, base: Path, merged: Path) -> None:
    """Hold the merged matrices against base + scaled BA, in float64.

    Raises:
        Refused: one is something else, or still the base's own; or none could be found.
    """
    config = json.loads((adapter / "adapter_config.json").read_bytes())
    if not (adapter / WEIGHTS).is_file():
        emit("note", text="Unsloth's merge was not reckoned again: the adapter is no safetensors")
        return
    started = config.get("init_lora_weights")
    if str(started).startswith(_BY_CHANCE):
        raise Refused(
            f"{adapter}: was initialized by a random approximation ({started}), which comes out "
            "otherwise every time: what training took out of the base can't be taken out again",
            "adapter",
            "save it where it was trained as a usual LoRA: save_pretrained(..., "
            "path_initial_model_for_weight_conversion=...); or merge it there",
        )
    before, after = _Weights(base), _Weights(merged)
    exact = not (config.get("use_dora") or config.get("rank_pattern"))
    exact = exact and not config.get("alpha_pattern")
    exact = exact and (started in _AS_BASE or started in (_PISSA, _OLORA))
    checked = total = 0
    for name, rank, delta in _deltas(adapter / WEIGHTS, config):
        total += 1
        old, new = before.get(name), after.get(name)
        if old is None or new is None or old.shape != delta.shape or old.shape != new.shape:
            continue  # fused or renamed by the architecture: nothing to hold it against
        checked += 1
        _require(adapter, name, (old, new), delta - _taken(old, rank, config) if exact else None)
    if not checked:
        raise Refused(
            f"{adapter}: none of its {total} matrices was found in what Unsloth merged: nothing "
            "proves that it was merged",
            "adapter",
            "leave --backend unsloth out: deployq merges adapters with PEFT as well",
        )
    what = "are base + scaled BA" if exact else "are not their base's any more"
    emit("note", text=f"merged by Unsloth: {checked} of {total} matrices {what}")


def _taken(weight: torch.Tensor, rank: int, config: dict[str, Any]) -> torch.Tensor | float:
    """What training took out of the base before it began, and started scaled B·A from."""
    started = config.get("init_lora_weights")
    if started == _PISSA:
        u, s, v = torch.linalg.svd(weight, full_matrices=False)
        return (u[:, :rank] * s[:rank]) @ v[:rank]
    if started == _OLORA:
        q, r = torch.linalg.qr(weight)
        return _scale(config) * (q[:, :rank] @ r[:rank])
    return 0.0


def _require(
    adapter: Path, name: str, seen: tuple[torch.Tensor, torch.Tensor], change: torch.Tensor | None
) -> None:
    old, new = seen
    if torch.equal(old, new):
        raise Refused(f"{adapter}: Unsloth merged nothing: {name} is still its base's", "adapter")
    if change is None:
        return
    off, changed = float((new - old - change).norm()), float(change.norm())
    # 16 bits are what Unsloth saves
    rounding = torch.finfo(torch.bfloat16).eps / 2 * float((old + change).norm())
    if not off <= rounding + _OFF_SHARE * changed:
        raise Refused(
            f"{adapter}: merged wrongly by Unsloth: {name} is {off / (changed or 1):.1%} of the "
            "adapter's change away from base + scaled BA",
            "adapter",
            "leave --backend unsloth out: deployq merges adapters with PEFT as well",
        )


def _scale(config: dict[str, Any]) -> float:
    rank, alpha = config["r"], config["lora_alpha"]
    return float(alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def _deltas(weights: Path, config: dict[str, Any]) -> Iterator[tuple[str, int, torch.Tensor]]:
    """The rank and scaled BA of each matrix, by the name of the base's tensor."""
    scale = _scale(config)
    with safe_open(weights, "pt") as tensors:
        for name in sorted(n for n in tensors.keys() if n.endswith(".lora_A.weight")):  # noqa: SIM118
            a = tensors.get_tensor(name).double()
            b = tensors.get_tensor(name.replace(".lora_A.", ".lora_B.")).double()
            if a.ndim == b.ndim == 2:
                module = name.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
                yield f"{module}.weight", len(a), scale * (b @ a)


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
