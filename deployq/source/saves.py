"""Which save of a model counts in a folder that holds more than one, and what is left out.

`save_pretrained` removes the shards of an earlier save, but neither its index nor a whole file, and
repositories carry the same weights in several formats. Converters take every file whose name fits.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from deployq.records import dataclass

SAME_TIME_SECONDS = 2.0
"""Files whose dates differ by less were written together; FAT counts by two seconds."""

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLE_INDEX = "pytorch_model.bin.index.json"
_SHARD = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})(?P<suffix>\.\w+)")
_CONSOLIDATED = re.compile(r"consolidated[\w.-]*\.safetensors")


@dataclass(frozen=True)
class Save:
    """One save: its files, the index that names them, and shards of it that are not there."""

    files: tuple[Path, ...]
    index: Path | None = None
    missing: tuple[str, ...] = ()

    @property
    def changed(self) -> float:
        """When it was written, in seconds since the epoch."""
        return newest(self.files or filter(None, [self.index]))

    @property
    def pickled(self) -> bool:
        return self.label.removesuffix(".index.json").endswith(".bin")

    @property
    def label(self) -> str:
        """What people call it: `model.safetensors`, `model-*-of-00002.safetensors`."""
        if not self.files:
            return self.index.name if self.index else ""
        shard = _SHARD.fullmatch(self.files[0].name)
        if shard is None or len(self.files) == 1:
            return self.files[0].name
        return f"{shard['stem']}-*-of-{shard['count']}{shard['suffix']}"


@dataclass(frozen=True)
class Choice:
    """The save that counts, and the others; None: there is none that could be read whole."""

    taken: Save | None
    others: tuple[Save, ...] = ()

    @property
    def left_out(self) -> frozenset[Path]:
        """Weights and indexes that nothing may read as parts of the model."""
        files = {file for save in self.others for file in (*save.files, save.index) if file}
        return frozenset(files - {*self.taken.files, self.taken.index} if self.taken else ())


def choose_save(folder: Path) -> Choice:
    """Choose among the saves of a model in one folder.

    Safetensors go before pickle files, and a consolidated copy counts only where it is alone. Of
    several the newest counts; of those written together the whole file, as transformers takes it.
    """
    saves = list(_saves(folder))
    whole = [save for save in saves if save.files and not save.missing]
    for group in (
        [s for s in whole if not s.pickled and not _CONSOLIDATED.fullmatch(s.files[0].name)],
        [s for s in whole if not s.pickled],
        whole,
    ):
        if group and (taken := _newest_save(group)):
            return Choice(taken, tuple(save for save in saves if save is not taken))
    return Choice(None, tuple(saves))


def _newest_save(saves: Sequence[Save]) -> Save | None:
    """The newest of saves of one format; None: they are files that no rule puts in order."""
    known = [s for s in saves if s.index or s.files[0].name in (SINGLE, "pytorch_model.bin")]
    if not known:
        one = len(saves) == 1 and (saves[0].pickled or len(saves[0].files) == 1)
        return saves[0] if one else None
    latest = max(save.changed for save in known)
    return next(s for s in known if s.changed > latest - SAME_TIME_SECONDS)


def _saves(folder: Path) -> Iterator[Save]:
    """Every save in a folder, whole files first."""
    files = sorted(f for f in folder.glob("*.safetensors") if not f.name.startswith("adapter"))
    files += sorted(folder.glob("pytorch_model*.bin"))
    indexed = list(filter(None, (_indexed(folder / name) for name in (INDEX, PICKLE_INDEX))))
    named = {file for save in indexed for file in save.files}
    rest = [file for file in files if file not in named]
    yield from (Save((file,)) for file in rest if not _SHARD.fullmatch(file.name))
    yield from indexed
    shards: dict[tuple[str, ...], list[Path]] = {}
    for file in rest:
        if shard := _SHARD.fullmatch(file.name):
            shards.setdefault(shard.groups(), []).append(file)
    yield from (Save(tuple(files)) for files in shards.values())


def _indexed(index: Path) -> Save | None:
    """The save that an index describes; None: there is no such index."""
    if not index.is_file():
        return None
    try:
        names = sorted(set(map(str, json.loads(index.read_bytes())["weight_map"].values())))
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return Save((), index, ("its shards",))
    own = [index.parent / name for name in names if Path(name).name == name]
    there = tuple(file for file in own if file.is_file())
    missing = tuple(name for name in names if index.parent / name not in there)
    return Save(there, index, missing)


def left_out_notes(choice: Choice) -> Iterator[str]:
    """A sentence for each save that was not taken, with what tells it from the one that was."""
    for save in choice.others if choice.taken else ():
        if save.files:
            lacks = f", without {save.missing[0]}" if save.missing else ""
            yield f"{save.label} of {shown_date(save.changed)}{lacks}"
        else:
            yield f"{save.label}, whose shards are not there"


def newer_saves(choice: Choice) -> Iterator[str]:
    """A sentence for each save that was written after the one that counts, and doesn't."""
    taken = choice.taken
    for save in choice.others if taken else ():
        if taken and save.files and save.changed > taken.changed + SAME_TIME_SECONDS:
            lacks = f" and lacks {save.missing[0]}" if save.missing else ""
            yield (
                f"{taken.label} of {shown_date(taken.changed)} is taken; {save.label} is newer "
                f"({shown_date(save.changed)}){lacks}: move {taken.label} away if that is the model"
            )


def newest(files: Iterable[Path]) -> float:
    """When the last of some files was written, of a link to nothing the link; 0: there is none."""
    stats = (file.stat() if file.exists() else file.lstat() for file in files)
    return max((stat.st_mtime for stat in stats), default=0.0)


def shown_date(seconds: float) -> str:
    """A file's date for people, in local time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
