"""Has Unsloth merge an adapter and save it in 16 bits, and looks at what it saved."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from jobside import Refused, emit

from .disposable import lay_out
from .loading import load
from .proof import prove

TOKENIZER_FILES = (
    "tokenizer", "special_tokens_map", "added_tokens", "vocab", "merges", "chat_template",
    "additional_chat_templates", "spiece", "tekken",
)  # fmt: skip


def merge(job: dict[str, Any]) -> None:
    """Write the merged model to the folder `output`: there as a whole, or not at all.

    Raises:
        Refused: Unsloth does not load it, saved nothing, or merged it wrongly.
    """
    lay_out(job)
    model, tokenizer = load(job)
    emit("loaded")
    saved = Path("merged")
    model.save_pretrained_merged(str(saved), tokenizer, save_method="merged_16bit")
    if not any(saved.glob("*.safetensors")):
        raise Refused(f"{job['source']}: Unsloth saved no merged weights ({_listing(saved)})")
    prove(Path(job["source"]), Path(job["base"]), saved)
    _copy_tokenizer(job, saved)
    saved.replace(job["output"])


def _copy_tokenizer(job: dict[str, Any], saved: Path) -> None:
    """The tokenizer as it was trained with: Unsloth sets padding and lengths of its own."""
    own = (Path(job["source"]) / "tokenizer_config.json").is_file()
    folder = Path(job["source"] if own else job["base"])
    for file in saved.iterdir():
        if file.name.startswith(TOKENIZER_FILES):
            file.unlink()
    for file in folder.iterdir():
        if file.name.startswith(TOKENIZER_FILES):
            copy = shutil.copytree if file.is_dir() else shutil.copyfile
            copy(file, saved / file.name)


def _listing(folder: Path) -> str:
    names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
    return ", ".join(names) or "it wrote nothing"
