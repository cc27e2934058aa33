"""Whether servers still hold what the lockfile says, and whether that is still what is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby

from deployq.addresses import same_address
from deployq.errors import BackendError, DeployqError, ServerError, ToolMissing
from deployq.pipeline.checks import suite_at
from deployq.pipeline.damage import find_damage
from deployq.pipeline.prepare import current_info, source_digest
from deployq.pipeline.resolve import Overrides, resolve_model, resolve_targets
from deployq.pipeline.servers import Site, connect
from deployq.pipeline.session import Session
from deployq.pipeline.wanted import (
    KeyOf,
    Subject,
    Wanted,
    artifact_key_of,
    wanted_alias,
    wanted_tag,
)
from deployq.records import dataclass
from deployq.tags.damage import Damage
from deployq.tags.history import generations
from deployq.tags.lockfile import LockEntry, Lockfile, changes
from deployq.tags.names import TagName, is_internal
from deployq.tags.records import TagRecord, find_tag
from deployq.types import TagState, TagStatus


def status(
    session: Session,
    names: Sequence[str] = (),
    *,
    servers_only: bool = False,
    hash_weights: bool = False,
) -> list[TagStatus]:
    """Every tag of the lockfile, and what changed since it was pushed.

    Args:
        names: models or tags; none: all.
        servers_only: compare with the servers alone, not with source, suite and configuration.
        hash_weights: hash every byte of the weights that are on this machine.
    """
    lock = Lockfile.load(session.lockfile)
    entries = [e for _, e in sorted(lock.entries.items()) if _asked_for(e.tag, names)]
    subjects = {} if servers_only else _subjects(session, {entry.model for entry in entries})
    by_host = sorted(entries, key=lambda entry: entry.host)
    groups = {key: list(of) for key, of in groupby(by_host, key=lambda entry: entry.host)}
    with ExitStack() as stack:
        sites = _sites(session, stack, groups)
        search = _Search(session, lock, names, subjects, hash_weights)
        found = [_on_server(search, sites[key], of) for key, of in groups.items()]
    return [status for statuses in found for status in statuses]


@dataclass(frozen=True)
class _Search:
    """What was asked for: `names` (none: all), and what each model is now."""

    session: Session
    lock: Lockfile
    names: Sequence[str]
    subjects: Mapping[str, Subject | str]
    hash_weights: bool


def _asked_for(tag: str, names: Sequence[str]) -> bool:
    wanted = [name.lower() for name in names]
    return not wanted or tag.lower() in wanted or tag.lower().partition(":")[0] in wanted


# ---------------------------------------------------------------- the servers


def _on_server(search: _Search, site: Site | str, entries: Sequence[LockEntry]) -> list[TagStatus]:
    session = search.session
    if isinstance(site, str):
        return [_status(entry, "unreachable", [site]) for entry in entries]
    try:
        held = site.server.tags()
        looked_at = {
            entry.tag: (entry.blob_digest,)
            for entry in entries
            if (there := find_tag(held, entry.tag)) and there.digest == entry.manifest_digest
        }
        damage = find_damage(session, site, held, looked_at, hash_weights=search.hash_weights)
        found = [
            _compared(search, site, held, entry, damage.get(entry.tag, ())) for entry in entries
        ]
    except ServerError as exc:  # it went away meanwhile
        return [_status(entry, "unreachable", [exc.message]) for entry in entries]
    return [*found, *_strangers(search, site, held, entries)]


def _sites(session: Session, stack: ExitStack, keys: Iterable[str]) -> dict[str, Site | str]:
    """The servers that the lockfile calls so, or why they can't be asked; all are asked at once."""
    mine = session.config.runtime.name
    found: dict[str, Site | str] = {
        key: f"it was pushed to the runtime {key}; this is {mine}" for key in keys
    }
    hosts = {key: _address_of(session, key) for key in found if "://" in key or key == mine}
    sites, lost = connect(session, hosts.values(), stack)
    for key, host in hosts.items():
        found[key] = sites[host] if host in sites else lost[host].message
    return found


def _address_of(session: Session, key: str) -> str | None:
    """Where a server of the lockfile is asked: as the configuration spells it; None: the default.

    A certificate may be for one spelling alone, and a server may listen on [::1] alone.
    """
    hosts = [target.host for target in session.config.targets.values() if target.host]
    spelled = next((host for host in hosts if same_address(host, key)), key)
    return spelled if "://" in key else None


def _compared(
    search: _Search,
    site: Site,
    held: Sequence[TagRecord],
    entry: LockEntry,
    damage: Sequence[Damage],
) -> TagStatus:
    there = find_tag(held, entry.tag)
    if there is None:
        return _status(entry, "lost", ["the server does not have it"])
    reasons = [one.message for one in damage]
    if there.digest != entry.manifest_digest:
        reasons.append(_changed_by_hand(held, entry, there.digest))
    elif not damage:
        blob = site.server.show(entry.tag).blob_digest
        if blob and blob != entry.blob_digest:
            mine = entry.blob_digest[:12]
            reasons.append(f"its weights are sha256:{blob[:12]}, not sha256:{mine}")
    reasons += _since(search.session, entry, search.subjects.get(entry.model))
    state: TagState = "damaged" if damage else "drifted" if reasons else "ok"
    return _status(entry, state, reasons)


def _changed_by_hand(held: Iterable[TagRecord], entry: LockEntry, there: str) -> str:
    """What a tag that deployq did not leave so holds now."""
    kept = generations(held, TagName.parse(entry.tag))
    number = next((n for n, record in kept.items() if record.digest == there), None)
    if number is not None:
        return f"somebody gave it generation {number} again"
    return f"somebody changed it: it is {there[:12]}, {entry.manifest_digest[:12]} was pushed"


def _strangers(
    search: _Search, site: Site, held: Iterable[TagRecord], entries: Iterable[LockEntry]
) -> Iterator[TagStatus]:
    """Tags of the same models that were asked for, and that the lockfile does not know."""
    models = {entry.model.lower() for entry in entries}
    known = {tag for tag, host in search.lock.entries if host == site.key}
    for record in held:
        name = record.name.lower()
        if name.partition(":")[0] not in models or name in known or is_internal(name):
            continue
        if _asked_for(name, search.names):
            reason = "the server has it, the lockfile does not"
            yield TagStatus(record.name, site.key, "unknown", (reason,), quant=record.quant)


# ---------------------------------------------------------------- source, suite, configuration


def _subjects(session: Session, models: Iterable[str]) -> dict[str, Subject | str]:
    """What each model is now, or why that can't be told."""
    return {model: _subject(session, model) for model in sorted(models)}


def _subject(session: Session, name: str) -> Subject | str:
    if name not in session.config.models:
        return ""  # pushed by its path: there is nothing to compare with
    try:
        model = resolve_model(session.config, name)
        info = current_info(session, model)
        suite = suite_at(session, model.settings.suite)
        return Subject(model, info, suite, source_digest(session, info))
    except DeployqError as exc:
        return exc.message


def _since(session: Session, entry: LockEntry, subject: Subject | str | None) -> list[str]:
    """What changed here since a tag was pushed."""
    if subject is None or isinstance(subject, str):
        return [subject] if subject else []
    try:
        wanted = _wanted(session, subject, entry)
    except DeployqError as exc:
        return [exc.message]
    if wanted is None:
        return []
    return [f"{r} since" for r in changes(entry, wanted.fields, entry.manifest_digest)]


def _wanted(session: Session, subject: Subject, entry: LockEntry) -> Wanted | None:
    tag = wanted_tag(session, subject, entry.quant, _key_of(entry))
    if entry.alias_of is None:
        return tag
    name = TagName.parse(entry.tag).tag
    if name not in session.config.targets:
        return None  # a target that was told on the command line: what it was is not known
    (target,) = resolve_targets(
        session, [name], subject.model, Overrides(), subject.info.n_ctx_train
    )
    return wanted_alias(session, subject, target, tag)


def _key_of(entry: LockEntry) -> KeyOf:
    """The key of the artifact as a push would have it; where nothing here builds it, as it was."""

    def key(session: Session, subject: Subject, quant: str) -> str:
        try:
            return artifact_key_of(session, subject, quant)
        except (ToolMissing, BackendError):
            return entry.artifact_key

    return key


def _status(entry: LockEntry, state: TagState, reasons: Iterable[str]) -> TagStatus:
    return TagStatus(
        tag=entry.tag,
        host=entry.host,
        state=state,
        reasons=tuple(reasons),
        alias_of=entry.alias_of,
        quant=entry.quant,
        pushed_at=entry.pushed_at,
    )
