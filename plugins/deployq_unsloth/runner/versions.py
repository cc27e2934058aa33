"""What is installed, and whether it can run here; Unsloth itself is not imported for it."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from jobside import emit

PACKAGES = ("unsloth", "unsloth_zoo", "torch", "transformers", "peft", "safetensors")


def versions(job: dict[str, Any]) -> None:
    """Versions of the packages (None: not installed), and whether there is an accelerator.

    It is asked for only where the Unsloth here needs one: importing PyTorch takes seconds.
    """
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    needs_one = _number(found["unsloth"] or "") < _number(job["runs_on_cpu_since"])
    accelerated = _accelerated() if needs_one and found["unsloth"] and found["torch"] else None
    emit("versions", versions=found, needs_accelerator=needs_one, accelerated=accelerated)


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _accelerated() -> bool:
    import torch

    xpu = getattr(torch, "xpu", None)
    return torch.cuda.is_available() or bool(xpu and xpu.is_available())
