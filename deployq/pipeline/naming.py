"""Whose a model's name is: no source takes the tags of another one unasked.

Names are made from those of files and folders, and many give one: letters that Ollama does not take
are dropped, long ones are cut, letter case does not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deployq.errors import ConfigError
from deployq.pipeline.resolve import Model, own_name
from deployq.pipeline.session import Session
from deployq.setting_values import NAMED_SOURCES
from deployq.source.finding import is_part
from deployq.tags.lockfile import LockEntry, Lockfile


def recorded_source(session: Session, model: Model) -> str:
    """What the lockfile calls a source: by name without its revision, by path below its folder.

    A path elsewhere is that of one machine, so its last part has to do.
    """
    text = str(model.source)
    if text.startswith(NAMED_SOURCES):
        return text.partition("@")[0]
    place, home = model.source.resolve(), session.lockfile.resolve().parent
    if is_part(place.name) and not place.is_dir():
        place = place.parent
    return place.relative_to(home).as_posix() if place.is_relative_to(home) else place.name


def find_owner(session: Session, model: Model) -> str:
    """Another source that a derived name belongs to, in words; "" where it is free.

    The same source under another path, or trained again, has the same name of its own.
    """
    return next(_owners(session, model), "") if model.derived else ""


def name_conflict(model: Model, owner: str) -> ConfigError:
    """The refusal of a push that would replace the tags of another source."""
    return ConfigError(
        f"{model.source}: would be the model {model.name}, which is that of {owner}",
        hint=f"--name NAME gives it a name of its own; --name {model.name} takes that one over",
    )


def is_known_content(session: Session, model: Model, source_digest: str) -> bool:
    """Checks that tags of that name were made of these very weights: the source was renamed."""
    return source_digest in {entry.source_digest for entry in _entries(session, model)}


def _owners(session: Session, model: Model) -> Iterator[str]:
    """Other sources that a name belongs to, by the configuration or the lockfile."""
    name = model.name.lower()
    for known, settings in session.config.models.items():
        if known.lower() == name:
            if settings.source and not _is_same_place(settings.source, model.source):
                yield f"{settings.source}, as [models.{known}] says"
            return
    home = session.lockfile.resolve().parent
    for entry in _entries(session, model):
        recorded = entry.made_from or (entry.source or "").partition("@")[0]
        if recorded and not _is_same(recorded, home, model.source):
            yield f"{recorded}, as {session.lockfile.name} says"


def _entries(session: Session, model: Model) -> list[LockEntry]:
    entries = Lockfile.load(session.lockfile).entries.values()
    return [entry for entry in entries if entry.model.lower() == model.name.lower()]


def _is_same_place(one: Path, other: Path) -> bool:
    texts = [str(path).partition("@")[0] for path in (one, other)]
    if any(text.startswith(NAMED_SOURCES) for text in texts):
        return texts[0].lower() == texts[1].lower()
    return one.expanduser().resolve() == other.expanduser().resolve()


def _is_same(recorded: str, home: Path, source: Path) -> bool:
    text = str(source).partition("@")[0]
    if recorded.startswith(NAMED_SOURCES) or text.startswith(NAMED_SOURCES):
        return recorded.lower() == text.lower()
    return own_name(home / recorded) == own_name(source)
