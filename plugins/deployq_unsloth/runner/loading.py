"""Loads a model in Unsloth, from the places of a job and from nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jobside import Refused, emit
from safetensors import safe_open

WEIGHTS = "adapter_model.safetensors"
_EMBEDDINGS = ("embed_tokens", "lm_head")
_DEFAULT_LENGTH = 2048


def load(job: dict[str, Any]) -> tuple[Any, Any]:
    """The model, an adapter on its base where there is one, and its tokenizer.

    The folders are links in the working directory: Unsloth reads a good deal from their names (a
    base ending in -bnb-4bit is another one to it), and an adapter names a base of its own.

    Raises:
        Refused: Unsloth does not load it.
    """
    import unsloth  # noqa: F401  (it wants to be imported before the others)
    from unsloth import FastLanguageModel

    source, base = Path(job["source"]), Path(job["base"] or job["source"])
    Path("base").symlink_to(base)
    place = Path("base") if job["base"] is None else _adapter(source, Path("base").absolute())
    config = json.loads((base / "config.json").read_bytes())
    options = {
        "max_seq_length": config.get("max_position_embeddings") or _DEFAULT_LENGTH,
        "dtype": _dtype(config),
        "load_in_4bit": False,
        "trust_remote_code": "code" in job["allow"],
    }
    if job["base"] and (rows := _more_rows(source, base)):
        options["resize_model_vocab"] = rows
        emit("note", text=f"Unsloth: embedding resized to the {rows} rows of the adapter")
    try:
        model, tokenizer = FastLanguageModel.from_pretrained(str(place.absolute()), **options)
    except (NotImplementedError, RuntimeError, ValueError, KeyError, OSError) as exc:
        raise Refused(
            f"{source}: Unsloth does not load it: {str(exc)[:400]}",
            "base" if job["base"] else "",
            "leave --backend unsloth out: deployq merges adapters with PEFT as well",
        ) from exc
    return model, tokenizer


def _adapter(source: Path, base: Path) -> Path:
    """A folder of links to the adapter, whose configuration names the base that is meant."""
    folder = Path("adapter")
    folder.mkdir()
    for file in source.iterdir():
        if file.is_file() and file.name != "adapter_config.json":
            (folder / file.name).symlink_to(file)
    config = json.loads((source / "adapter_config.json").read_bytes())
    config |= {"base_model_name_or_path": str(base), "revision": None}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def _dtype(config: dict[str, Any]) -> Any:
    import torch

    text = config.get("text_config") or {}
    named = config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or "bfloat16"
    return getattr(torch, str(named), torch.bfloat16)


def _more_rows(adapter: Path, base: Path) -> int | None:
    """Rows of an embedding that the adapter brings whole, where its base has fewer."""
    if not (adapter / WEIGHTS).is_file():
        return None
    with safe_open(adapter / WEIGHTS, "pt") as tensors:
        whole = [
            tensors.get_slice(name).get_shape()[0]
            for name in tensors.keys()  # noqa: SIM118  (no mapping: it only has keys)
            if any(part in name for part in _EMBEDDINGS) and "lora_" not in name
        ]
    config = json.loads((base / "config.json").read_bytes())
    has = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size") or 0
    rows = max(whole, default=0)
    return rows if rows > has else None
