"""The files of a Hugging Face folder that make the model, told from what training left there."""

from __future__ import annotations

from pathlib import Path

from deployq.source.safetensors import INDEX

_SUFFIXES = {".json", ".model", ".txt", ".jinja", ".md", ".tiktoken", ".py"}
_WEIGHTS = {".safetensors", ".bin"}
_OF_TRAINING = (
    "trainer_state.json", "training_args", "optimizer", "scheduler", "rng_state", "debug.log",
    "all_results.json", "train_results.json", "eval_results.json", "latest",
)  # fmt: skip


def source_files(folder: Path) -> tuple[Path, ...]:
    """Weights, config, tokenizer, model card: what a conversion's result depends on."""
    found = [
        file
        for file in sorted(folder.iterdir())
        if file.is_file() and not file.name.startswith((".", *_OF_TRAINING)) and _matters(file)
    ]
    templates = folder / "additional_chat_templates"
    return (*found, *(sorted(templates.glob("*.jinja")) if templates.is_dir() else ()))


def _matters(file: Path) -> bool:
    return file.suffix in _SUFFIXES or file.suffix in _WEIGHTS


def unexpected_weights(folder: Path, used: tuple[Path, ...]) -> tuple[Path, ...]:
    """Weight files that belong to no index: of an earlier save, or of another format."""
    if not (folder / INDEX).is_file() and len(used) == 1:
        others = folder.glob("model*.safetensors")
    else:
        others = folder.glob("*.safetensors")
    return tuple(sorted(f for f in others if f not in used and not f.name.startswith("adapter")))
