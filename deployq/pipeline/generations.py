"""What a tag was before: its history, the way back, and what differs between two of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from deployq.errors import ConfigError, ModelfileError, ServerError
from deployq.pipeline.damage import find_damage
from deployq.pipeline.locks import alone
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.pipeline.transaction import change_names, forget_oldest
from deployq.records import dataclass
from deployq.tags.history import generations, number_of, parse_generation
from deployq.tags.journal import Swap
from deployq.tags.lockfile import LockEntry, Lockfile
from deployq.tags.modelfile import in_parts
from deployq.tags.names import TagName, history_name
from deployq.tags.records import Shown, TagRecord, find_tag
from deployq.tags.registry import swap_of
from deployq.types import Generation, TagDifference

_FROM = re.compile(r"^FROM .*sha256[-:]([0-9a-f]{12})[0-9a-f]*\s*$", re.MULTILINE)
_DIGEST = r"FROM sha256:\1"
_COMMENTS = re.compile(r"^#.*\n?", re.MULTILINE)


def history(session: Session, site: Site, tag: TagName) -> list[Generation]:
    """Every content of a tag that the server has, the newest first.

    Raises:
        ConfigError: the server has neither the tag nor an earlier generation of it.
    """
    held, lock = site.server.tags(), Lockfile.load(session.lockfile)
    kept = generations(held, tag)
    current = find_tag(held, tag)
    if current is None and not kept:
        raise ConfigError(f"{site.endpoint.url} has no tag {tag}", hint="deployq list")
    found = dict(kept)
    if current is not None:
        found[number_of(kept, current.digest)] = current
    return [
        _generation(tag, n, record, current, lock.generation(str(tag), site.key, record.digest))
        for n, record in sorted(found.items(), reverse=True)
    ]


def _generation(
    tag: TagName, number: int, record: TagRecord, current: TagRecord | None, entry: LockEntry | None
) -> Generation:
    return Generation(
        tag=str(tag),
        number=number,
        current=current is not None and current.digest == record.digest,
        manifest_digest=record.digest,
        size_bytes=record.size_bytes,
        quant=entry.quant if entry else record.quant,
        n_ctx=entry.n_ctx if entry else None,
        blob_digest=entry.blob_digest if entry else None,
        source_digest=entry.source_digest if entry else None,
        passed=entry.passed if entry else None,
        total=entry.total if entry else None,
        pushed_at=entry.pushed_at if entry else None,
    )


# ---------------------------------------------------------------- rollback


@dataclass(frozen=True)
class RolledBack:
    """One tag that was given an earlier content again: from which generation to which."""

    tag: str
    from_number: int | None
    to_number: int


def rollback(
    session: Session, site: Site, tags: Sequence[TagName], to: int | None = None
) -> list[RolledBack]:
    """Give tags of one model their previous content again, all of them or none.

    Args:
        to: the generation; None: for each the one before its present content.

    Raises:
        ConfigError: there is no such generation, or the tags are of several models.
        DeployqError: it failed; every tag is as it was.
    """
    models = {tag.model.lower() for tag in tags}
    if len(models) > 1:
        raise ConfigError(
            f"tags of several models: {', '.join(sorted(models))}", hint="one rollback for each"
        )
    with alone(session, site, tags[0].model, "rollback") as hold:
        found = [_step_back(session, site, tag, to) for tag in tags]
        lock, swaps = Lockfile.load(session.lockfile), tuple(swap for swap, _ in found)
        known = (lock.generation(str(swap.name), site.key, swap.after) for swap in swaps)
        change_names(session, site, hold, swaps, [entry for entry in known if entry is not None])
        forget_oldest(session, site, lock, tags)
    return [back for _, back in found]


def _step_back(
    session: Session, site: Site, tag: TagName, to: int | None
) -> tuple[Swap, RolledBack]:
    known = history(session, site, tag)
    current = next((g for g in known if g.current), None)
    earlier = [g for g in known if current is None or g.number < current.number]
    wanted = [g for g in known if g.number == to] if to else earlier[:1]
    if not wanted:
        what = f"no generation {to}" if to else "no earlier generation"
        raise ConfigError(f"{tag} has {what} on {site.endpoint.url}", hint=f"deployq history {tag}")
    if wanted[0].current:
        raise ConfigError(f"{tag} holds generation {to} already", hint=f"deployq history {tag}")
    source, held = history_name(tag, wanted[0].number), site.server.tags()
    _require_served(session, site, held, source, wanted[0].blob_digest)
    swap = swap_of(held, tag, source, wanted[0].manifest_digest)
    return swap, RolledBack(str(tag), current.number if current else None, wanted[0].number)


def _require_served(
    session: Session, site: Site, held: Sequence[TagRecord], source: TagName, blob: str | None
) -> None:
    """Make sure that the server can serve a generation before a tag gets its content.

    Raises:
        ServerError: a part of it is damaged.
    """
    found = find_damage(session, site, held, {str(source): (blob,) if blob else ()})
    if damage := found[str(source)]:
        raise ServerError(
            f"{source} on {site.endpoint.url} can't be served: {damage[0].message}",
            hint=f"deployq push {source.model} makes what deployq.toml says now",
        )


# ---------------------------------------------------------------- diff


def difference(session: Session, site: Site, one: str, other: str) -> TagDifference:
    """What differs between two tags, or two generations (`TAG@3`).

    Raises:
        ConfigError: one of them is not there.
    """
    left, right = (_side(session, site, text) for text in (one, other))
    facts = tuple(
        (name, left.facts[name], right.facts[name])
        for name in left.facts
        if left.facts[name] != right.facts[name]
    )
    lines = difflib.unified_diff(
        left.modelfile.splitlines(), right.modelfile.splitlines(), one, other, lineterm="", n=2
    )
    return TagDifference(one, other, facts, tuple(lines))


@dataclass(frozen=True)
class _Side:
    facts: dict[str, str]
    modelfile: str


def _side(session: Session, site: Site, text: str) -> _Side:
    tag, number = parse_generation(text)
    known = history(session, site, tag)
    found = next((g for g in known if (g.number == number if number else g.current)), None)
    if found is None:
        raise ConfigError(f"{site.endpoint.url} has no {text}", hint=f"deployq history {tag}")
    name = tag if found.current else history_name(tag, found.number)
    shown = site.server.show(str(name))
    return _Side(_facts(found, shown), _comparable(shown.modelfile))


def _facts(found: Generation, shown: Shown) -> dict[str, str]:
    """What a tag is made of and how it did; what is not known is a dash."""
    facts = {
        "quant": found.quant,
        "weights": shown.blob_digest[:12],
        "source": (found.source_digest or "")[:12],
        "checks": f"{found.passed} of {found.total}" if found.total else "",
        "pushed": found.pushed_at or "",
    }
    return {name: value or "–" for name, value in facts.items()}


def _comparable(modelfile: str) -> str:
    """A Modelfile without what differs by server and name, or each time that it is shown.

    That are the comment, the path of the blob, and the order of the parameters: a server gives
    them as they come. Values of one name (`stop`) and messages keep theirs.
    """
    try:
        parts = in_parts(modelfile)
    except ModelfileError:  # made by hand in a way that deployq does not read
        return _FROM.sub(_DIGEST, _COMMENTS.sub("", modelfile)).strip()
    written = [
        _FROM.sub(_DIGEST, text) if command == "FROM" else text
        for command, _, text in parts
        if command != "PARAMETER"
    ]
    parameters = sorted(
        (part for part in parts if part[0] == "PARAMETER"), key=lambda part: part[1]
    )
    return "\n".join((*written, *(text for _, _, text in parameters)))
