"""Earlier generations of a tag, kept on the server under names of their own.

They share their blobs with the tag, so a generation of the same weights takes no room. The
current content's number is the one under which it is kept already (after a rollback), else the
next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from deployq.errors import ConfigError
from deployq.tags.names import TagName, generation_number, history_name
from deployq.tags.records import TagRecord


def generations(held: Iterable[TagRecord], name: TagName) -> dict[int, TagRecord]:
    """The kept generations of a tag by number, oldest first, among the tags of a server."""
    found = ((generation_number(name, record.name), record) for record in held)
    return dict(sorted((n, record) for n, record in found if n is not None))


def number_of(kept: Mapping[int, TagRecord], digest: str) -> int:
    """The number of the content with this manifest digest: its own, or the next one."""
    same = [n for n, record in kept.items() if record.digest == digest]
    return same[-1] if same else max(kept, default=0) + 1


def kept_name(held: Iterable[TagRecord], name: TagName, digest: str) -> TagName:
    """Where a tag's present content is kept, or shall be."""
    return history_name(name, number_of(generations(held, name), digest))


def beyond(kept: Mapping[int, TagRecord], current: str, keep: int) -> list[TagRecord]:
    """The generations to let go: all but the `keep` newest that are not the current content."""
    earlier = [record for record in kept.values() if record.digest != current]
    return earlier[: max(0, len(earlier) - keep)]


def parse_generation(text: str) -> tuple[TagName, int | None]:
    """Read `TAG` or `TAG@3`: the tag, and which generation (None: what it holds now).

    Raises:
        ConfigError: the tag is no name, or the generation no number.
    """
    name, at, number = text.partition("@")
    if at and not (number.isascii() and number.isdigit() and int(number) > 0):
        raise ConfigError(
            f"{text}: {number!r} is no generation", hint=f"deployq history {name} shows them"
        )
    return TagName.parse(name), int(number) if at else None
