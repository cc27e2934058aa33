"""The base of an adapter on this machine: found by the name that the adapter gives."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from deployq.source.adapter import Adapter
from deployq.source.finding import model_weights, packed_by
from deployq.source.saves import SAME_TIME_SECONDS, newest

_FOLDERS = frozenset({
    "base", "bases", "checkpoint", "checkpoints", "content", "data", "home", "merged", "mnt",
    "model", "models", "out", "output", "outputs", "result", "results", "root", "run", "runs",
    "tmp", "train", "trained", "training", "weights", "work", "workspace",
})  # fmt: skip


def is_local_name(name: str) -> bool:
    """Checks that a base's name looks like a path of the machine that trained, not of the hub.

    `outputs/stage1` could be either. It is never looked for on the hub: whoever registers such a
    name there would choose what people deploy.
    """
    parts = name.split("/")
    looks = name.startswith(("/", ".", "~")) or "\\" in name or re.match(r"[A-Za-z]:", name)
    return bool(looks) or len(parts) != 2 or not all(parts) or parts[0].lower() in _FOLDERS


def find_base(adapter: Adapter) -> Path | None:
    """The whole model that an adapter names as its base, where it lies beside the adapter.

    A name in somebody's adapter_config.json counts only below the adapter's own parent folder: the
    path itself, a folder of that name, or the model in the adapter's own folder if that is older.
    """
    home = adapter.folder.resolve().parent
    for place in _places(adapter, home):
        folder = place.resolve()
        if folder.is_dir() and folder.is_relative_to(home) and _is_whole(folder):
            return folder
    own = adapter.folder.resolve()
    older = newest(model_weights(own)) < newest([adapter.weights]) - SAME_TIME_SECONDS
    return own if _is_whole(own) and older else None


def _places(adapter: Adapter, home: Path) -> Iterator[Path]:
    """Where a base of that name would be: a 4-bit copy's also under that of its full precision."""
    for name in dict.fromkeys((adapter.base_shown, adapter.base)):
        if not name or "\0" in name:
            continue
        yield adapter.folder / os.path.expanduser(name)  # noqa: PTH111  (Path's own raises)
        path = PurePosixPath(name.replace("\\", "/"))
        last, owner = path.name, path.parent.name
        if not last or last == "..":
            continue
        for folder in (home, adapter.folder):
            yield from (folder / last, folder / owner / last, folder / f"{owner}--{last}")
            yield folder / f"{owner}_{last}"
        if home.name == last:
            yield home


def _is_whole(folder: Path) -> bool:
    return bool(model_weights(folder)) and not packed_by(folder)
