"""Versions of Ollama: how they compare, and what changed with them."""

from __future__ import annotations

import re

# From this version on Ollama keeps a GGUF as it is, and takes no LoRA adapters; 0.30 to 0.34.0
# write a GGUF anew at create.
KEEPS_WEIGHTS = (0, 34, 1)


def version_numbers(version: str) -> tuple[int, ...]:
    """`0.34.4-rc1` as (0, 34, 4).

    Raises:
        ValueError: it is no version.
    """
    matched = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    if matched is None:
        raise ValueError(f"its version is {version!r}")
    return tuple(int(part or 0) for part in matched.groups())


def keeps_weights(version: str) -> bool:
    """Whether a server of this version stores a GGUF as it is; so does one that tells none."""
    try:
        numbers = version_numbers(version)
    except ValueError:
        return True
    return numbers >= KEEPS_WEIGHTS or not any(numbers)
