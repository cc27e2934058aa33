"""From a training script: the live model is saved merged, and `deployq push` does the rest."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deployq import BackendError, DeployqError, DiskError, SourceError, proc

MARK = ".saved-by-deployq"
"""Lies in a folder that was saved here: only such a one is replaced."""


class PushFailed(DeployqError):
    """`deployq push` ended with `exit_code`; the end of what it said is in the message."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def push(
    model: Any,
    tokenizer: Any,
    folder: str | Path,
    *,
    targets: str | Sequence[str],
    quants: str | Sequence[str] = (),
    name: str = "",
    options: Sequence[str] = (),
    deployq: Sequence[str | Path] = (),
) -> Path:
    """Save a live Unsloth model merged, in 16 bits, and push that folder.

    Args:
        model: as FastLanguageModel gave it, adapter and all; it stays as it is.
        tokenizer: its tokenizer, with its chat template.
        folder: where to save it. One that an earlier call saved is replaced, any other kept.
        targets: names of targets, as `--targets` takes them.
        quants: as `--quants` takes them; default: what the configuration says.
        name: a model of deployq.toml whose `source` is that folder; default: the folder's name.
        options: further options of `deployq push`, such as `["--require-fit"]`.
        deployq: the program, where it is installed elsewhere: `["/opt/deployq/bin/deployq"]`.

    Returns:
        The saved folder.

    Raises:
        SourceError: this is no Unsloth model, or nothing was saved.
        DiskError: the folder is somebody else's, or can't be written.
        PushFailed: the push failed, with its exit code.
    """
    place = Path(folder).expanduser().absolute()
    _save(model, tokenizer, place)
    argv: list[str | Path] = [*(deployq or (sys.executable, "-m", "deployq")), "push"]
    argv += [name or place, "--targets", _joined(targets), *options]
    if quants:
        argv += ["--quants", _joined(quants)]
    finished = proc.run([*argv, "--yes"], on_line=_show, check=False)
    if finished.returncode:
        raise PushFailed(proc.describe_failure(finished), finished.returncode)
    return place


def _save(model: Any, tokenizer: Any, place: Path) -> None:
    """The folder is there as a whole, or as it was."""
    if not hasattr(model, "save_pretrained_merged"):
        raise SourceError(
            f"{type(model).__name__} has no save_pretrained_merged: it is no model of Unsloth's",
            hint="save its adapter (save_pretrained) and push that folder: deployq push FOLDER",
        )
    if place.exists() and not (place / MARK).is_file():
        raise DiskError(
            f"{place}: is there already, and was not saved by deployq: it is not replaced",
            hint="name another folder",
        )
    partial = place.with_name(f".{place.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        _merge(model, tokenizer, partial)
        (partial / MARK).touch()
        shutil.rmtree(place, ignore_errors=True)
        partial.rename(place)
    except OSError as exc:
        raise DiskError(f"the model can't be saved in {place}: {exc.strerror or exc}") from exc
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _merge(model: Any, tokenizer: Any, folder: Path) -> None:
    try:
        model.save_pretrained_merged(str(folder), tokenizer, save_method="merged_16bit")
    except (NotImplementedError, RuntimeError, ValueError) as exc:
        raise BackendError(
            f"Unsloth does not save this model merged: {exc}",
            hint="save its adapter (save_pretrained) and push that folder: deployq push FOLDER",
        ) from exc
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise SourceError(f"Unsloth saved no whole model: {folder} lacks weights or config.json")


def _joined(names: str | Sequence[str]) -> str:
    return names if isinstance(names, str) else ",".join(names)


def _show(line: str) -> None:
    """Through sys.stdout, which a notebook shows; a child's own would go to its server's log."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
