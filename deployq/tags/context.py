"""What a Modelfile template may use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from deployq.types import Json


def context(
    *,
    model: str,
    architecture: str,
    quant: str,
    from_: str,
    parameters: Mapping[str, Json],
    system: str = "",
    stops: Iterable[str] = (),
    target: str | None = None,
    license: Iterable[str] = (),
    projector: str = "",
    adapter: str = "",
    extra: Mapping[str, Json] | None = None,
) -> dict[str, Any]:
    """The variables of a Modelfile template.

    Args:
        from_: the name of the weights' file, such as `task-api-Q4_K_M.gguf`.
        parameters: by Modelfile name; a `stop` in it joins `stops`.
        stops: the model's own stop tokens.
        target: the target of an alias; None for a quant tag.
        projector: the name of a file for images or sound.
        adapter: the name of a LoRA adapter's file.
        extra: what plugins add; it may replace the rest.
    """
    plain = {name: value for name, value in parameters.items() if name != "stop"}
    wanted = parameters.get("stop", ())
    asked = (wanted,) if isinstance(wanted, str) else tuple(wanted or ())  # type: ignore[arg-type]
    return {
        "model": model,
        "architecture": architecture,
        "quant": quant,
        "from_": from_,
        "parameters": plain,
        "system": system,
        "stops": tuple(dict.fromkeys((*stops, *asked))),
        "target": target,
        "license": tuple(license),
        "projector": projector,
        "adapter": adapter,
        **(extra or {}),
    }
