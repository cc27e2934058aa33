"""The files of a Hugging Face folder that make the model, told from what training left there."""

from __future__ import annotations

from pathlib import Path

from deployq.errors import DiskError
from deployq.source.adapter import WEIGHTS, adapter_weights
from deployq.source.pickled import write_as_safetensors
from deployq.source.saves import choose_save

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


def model_files(folder: Path) -> tuple[Path, ...]:
    """Those of `source_files` that belong to the whole model in a folder."""
    foreign = foreign_files(folder)
    return tuple(file for file in source_files(folder) if file not in foreign)


def foreign_files(folder: Path) -> frozenset[Path]:
    """Files beside a whole model that tools would take for parts of it.

    Those of another save (llama.cpp's converter reads every file whose name fits, and an index
    that is out of date), and an adapter (transformers then loads that on the base that it names).
    """
    return choose_save(folder).left_out | frozenset(folder.glob("adapter_*"))


def link_model(folder: Path, place: Path) -> Path:
    """A model's folder without the foreign files: the folder itself, or one of links in `place`.

    Raises:
        DiskError: it can't be written.
    """
    foreign = foreign_files(folder)
    return _linked(folder, place, foreign) if foreign else folder


def link_adapter(folder: Path, place: Path) -> Path:
    """An adapter's folder with its weights as safetensors: itself, or one of links in `place`.

    What reads a pickle file here runs nothing in it, so that none of the tools has to.

    Raises:
        SourceError: the pickle file is none of weights.
        DiskError: it can't be written.
    """
    file = adapter_weights(folder)
    if file.name == WEIGHTS:
        return folder
    view = _linked(folder, place, frozenset({file}))
    write_as_safetensors(file, view / WEIGHTS)
    return view


def _linked(folder: Path, place: Path, without: frozenset[Path]) -> Path:
    view = place / folder.name  # converters take a model's name from its folder
    try:
        view.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            link = view / path.name
            if path not in without and not link.is_symlink():
                link.symlink_to(path.absolute())
    except OSError as exc:
        raise DiskError(f"cannot write {view}: {exc.strerror or exc}") from exc
    return view


def _matters(file: Path) -> bool:
    return file.suffix in _SUFFIXES or file.suffix in _WEIGHTS
