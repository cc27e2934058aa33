"""What stands on the servers: tags, what deployq knows of them, and taking them away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deployq.errors import ConfigError
from deployq.pipeline.checks import all_checks, suite_at
from deployq.pipeline.locks import alone
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.proof.suites import Suite
from deployq.proof.verify import run_suite
from deployq.records import dataclass
from deployq.setting_values import nearest
from deployq.tags.freed import Freed, freed_by
from deployq.tags.history import generations
from deployq.tags.lockfile import LockEntry, Lockfile, update
from deployq.tags.names import TagName, is_internal, same_name
from deployq.tags.owners import tidy_owners
from deployq.tags.records import Shown, TagRecord
from deployq.tags.registry import remove
from deployq.types import HeldTag, Verification


@dataclass(frozen=True)
class TagDetail:
    """One tag in detail."""

    held: HeldTag
    shown: Shown
    entry: LockEntry | None


def held_tags(session: Session, site: Site) -> list[HeldTag]:
    """Every tag of a server, with what the lockfile says of it; staged and kept ones left out."""
    lock = Lockfile.load(session.lockfile)
    return [
        _held(record, lock.find(record.name, site.key), site)
        for record in sorted(site.server.tags(), key=lambda record: record.name)
        if not is_internal(record.name)
    ]


def _held(record: TagRecord, entry: LockEntry | None, site: Site) -> HeldTag:
    held = HeldTag(
        tag=record.name,
        host=site.endpoint.url,
        quant=record.quant,
        size_bytes=record.size_bytes,
        manifest_digest=record.digest,
        modified=record.modified,
    )
    if entry is None:
        return held
    return replace(
        held,
        quant=entry.quant,
        made_here=True,
        changed=entry.manifest_digest != record.digest,
        alias_of=entry.alias_of,
        n_ctx=entry.n_ctx,
        passed=entry.passed,
        total=entry.total,
        tokens_per_second=entry.tokens_per_second,
        pushed_at=entry.pushed_at,
    )


def tag_detail(session: Session, site: Site, name: str) -> TagDetail:
    """What a server and the lockfile say of one tag.

    Raises:
        ConfigError: the name is none.
        ServerRefused: there is no such tag.
    """
    tag = TagName.parse(name)
    shown = site.server.show(str(tag))
    held = next((h for h in held_tags(session, site) if same_name(h.tag, str(tag))), None)
    if held is None:
        held = HeldTag(str(tag), site.endpoint.url, "", 0, "")
    return TagDetail(held, shown, Lockfile.load(session.lockfile).find(held.tag, site.key))


def resolve_tags(session: Session, site: Site, names: Sequence[str]) -> list[str]:
    """Tags of these names; a model's name alone stands for all the tags that deployq made of it.

    Raises:
        ConfigError: nothing of that name is on the server.
    """
    held = held_tags(session, site)
    found: list[str] = []
    for name in names:
        mine = [h.tag for h in held if _meant(h, name)]
        if not mine:
            known = nearest(name, [h.tag for h in held])
            raise ConfigError(
                f"{site.endpoint.url} has no tag {name!r}{known}", hint="deployq list"
            )
        found += mine
    return list(dict.fromkeys(found))


def _meant(held: HeldTag, name: str) -> bool:
    if ":" in name:
        return same_name(held.tag, name)
    mine = held.made_here and held.alias_of is None
    of_model = held.tag.lower().startswith(f"{name}:".lower())
    return same_name(held.tag, name) or (mine and of_model)


def suite_for(session: Session, tag: str) -> Suite:
    """The suite of the model that a tag belongs to, or the smoke test."""
    settings = session.config.models.get(TagName.parse(tag).model)
    return suite_at(session, settings.suite if settings else None)


def verify_tag(
    session: Session, site: Site, tag: str, suite: Suite, *, jobs: int = 1
) -> Verification:
    """Run a suite against a tag as it stands."""
    return run_suite(
        site.server,
        tag,
        suite,
        all_checks(session),
        jobs=jobs,
        timeout_seconds=session.config.runtime.timeout,
        progress=session.progress,
    )


@dataclass(frozen=True)
class Removed:
    """A tag that is gone, with as many earlier generations; and what that freed."""

    tag: str
    generations: int
    freed: Freed


def remove_tag(session: Session, site: Site, tag: str) -> Removed:
    """Remove a tag and its earlier generations from the server, and from the lockfile.

    Raises:
        ServerError: the server failed; what it still has can be removed by another try.
    """
    name = TagName.parse(tag)
    with alone(session, site, name.model, "remove"):
        kept = [record.name for record in generations(site.server.tags(), name).values()]
        freed = freed_by(site.server, site.endpoint.models_dir, [*kept, tag])
        for old in (*kept, tag):  # the tag last: without it nobody could name its generations
            remove(site.server, TagName.parse(old))
        tidy_owners(site.server, name.model)
        update(session.lockfile, [], [(tag, site.key)])
    return Removed(tag, len(kept), freed)
