"""deployq.lock: what each tag was made from, its digests, its results. TOML, meant for git.

Sorted by tag and place, one value a line, no path of any machine. Every line names its tag and
place (`tags."task-api:q4_k_m"."http://box:11434".quant = "Q4_K_M"`), so that it means the same
wherever a merge puts it: changes of different tags merge in git by themselves. Where two branches
add tags between the same two, git asks, unless it is told to take both (`merge=union`) or to let
deployq do it (lockmerge.py). What a tag was before is its `earlier`, newest first: `rollback` takes
its entry from there.
"""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import Any

import filelock
import tomli_w

from deployq.addresses import canonical_url
from deployq.errors import LockfileError
from deployq.files import write_whole
from deployq.records import dataclass

Key = tuple[str, str]

SCHEMA = 1
LOCK_SECONDS = 60
_HEADER = "# Written by deployq: what each tag was made from. Keep it in git, don't edit it.\n"
_RENEW = "restore it from git, or remove it and push again"
_MERGE_MARKS = ("<<<<<<<", "=======", ">>>>>>>")


@dataclass(frozen=True)
class LockEntry:
    """One tag on one server, as it was pushed.

    `host` is the server's address in one spelling, or the name of a runtime whose address changes.
    Digests are hex sha256; `manifest_digest` is what the server lists for the tag, `passed` and
    `total` count verification prompts. `pushed_at` is UTC, ISO 8601.

    Of an alias: `gate_digest` says what gate it passed; where that took other quants than were
    `planned`, these are the `escalated`, both with commas between. Of a tag that a gate judged:
    `same_top` (a share), `kl` (nats, a lower bound), `perplexity_ratio`, against the baseline.

    `source` is a source that was given by name, with the revision that was taken; so is `base`.
    `made_from` is what any source was called: its path below the lockfile's folder, the last part
    of one elsewhere, or its name.
    """

    tag: str
    host: str
    model: str
    quant: str
    source_digest: str
    artifact_key: str
    blob_digest: str
    manifest_digest: str
    modelfile_digest: str
    backend: str
    backend_version: str
    passed: int
    total: int
    pushed_at: str
    deployq_version: str
    suite_digest: str = ""
    n_ctx: int | None = None
    tokens_per_second: float | None = None
    alias_of: str | None = None
    gate_digest: str | None = None
    planned: str | None = None
    escalated: str | None = None
    same_top: float | None = None
    kl: float | None = None
    perplexity_ratio: float | None = None
    baseline_digest: str | None = None
    imatrix_digest: str | None = None
    source: str | None = None
    base: str | None = None
    made_from: str | None = None

    @property
    def key(self) -> Key:
        return _key(self.tag, self.host)


def server_name(host: str) -> str:
    """The one name of a server, however its address is spelled; a runtime's is its own."""
    try:
        return canonical_url(host) if "://" in host else host
    except ValueError:
        return host


def _key(tag: str, host: str) -> Key:
    return tag.lower(), server_name(host)


@dataclass(frozen=True)
class Lockfile:
    """The entries of a lockfile, by tag (in lower case) and host; and their earlier ones."""

    entries: Mapping[Key, LockEntry] = field(default_factory=dict)
    earlier: Mapping[Key, tuple[LockEntry, ...]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Lockfile:
        """Read a lockfile; one that is not there is empty.

        Raises:
            LockfileError: it is damaged, unmerged, or from a newer deployq.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError) as exc:
            raise LockfileError(f"cannot read {path.name}: {exc}", hint=_RENEW) from exc
        return cls.loads(text, path.name)

    @classmethod
    def loads(cls, text: str, name: str) -> Lockfile:
        """Read a lockfile's text; `name` is what a complaint calls it.

        Raises:
            LockfileError: as for `load`.
        """
        entries: dict[Key, LockEntry] = {}
        earlier: dict[Key, tuple[LockEntry, ...]] = {}
        pushed: dict[Key, list[LockEntry]] = {}
        for entry, before in _parse(text, name):
            pushed.setdefault(entry.key, []).extend((entry, *before))
            if len(pushed[entry.key]) > 1 + len(before):  # an earlier version had two spellings
                pushed[entry.key].sort(key=lambda one: one.pushed_at, reverse=True)
        for key, known in pushed.items():
            entries[key] = known[0]
            if before := _other_contents(known):
                earlier[key] = before
        return cls(entries, earlier)

    def find(self, tag: str, host: str) -> LockEntry | None:
        """The entry of a tag on a host."""
        return self.entries.get(_key(tag, host))

    def manifest_digest(self, tag: str, host: str) -> str | None:
        """What a tag on a host was pushed as; None: it has no entry."""
        entry = self.find(tag, host)
        return entry.manifest_digest if entry else None

    def generation(self, tag: str, host: str, manifest_digest: str) -> LockEntry | None:
        """What is known of one content of a tag, the present or an earlier one."""
        key = _key(tag, host)
        known = (*filter(None, [self.entries.get(key)]), *self.earlier.get(key, ()))
        return next((e for e in known if e.manifest_digest == manifest_digest), None)

    def contents(self, tag: str) -> frozenset[str]:
        """The manifest digests of all that a tag was pushed as, on whatever host."""
        mine = [e for (name, _), e in self.entries.items() if name == tag.lower()]
        before = [e for (name, _), es in self.earlier.items() if name == tag.lower() for e in es]
        return frozenset(entry.manifest_digest for entry in (*mine, *before))

    def merged(
        self,
        entries: Iterable[LockEntry],
        removed: Iterable[tuple[str, str]] = (),
        keep: int = 0,
    ) -> Lockfile:
        """With these entries in place of those of their tag, and without the removed.

        Args:
            keep: how many earlier entries of a tag stay known.
        """
        gone = {_key(tag, host) for tag, host in removed}
        kept = {key: entry for key, entry in self.entries.items() if key not in gone}
        earlier = {key: before for key, before in self.earlier.items() if key not in gone}
        for entry in entries:
            known = (*filter(None, [kept.get(entry.key)]), *earlier.get(entry.key, ()))
            before = tuple(e for e in known if e.manifest_digest != entry.manifest_digest)[:keep]
            earlier = {k: v for k, v in earlier.items() if k != entry.key}
            earlier |= {entry.key: before} if before else {}
            kept[entry.key] = entry
        return Lockfile(kept, earlier)

    def dumps(self) -> str:
        """The text of the file: the same entries give the same text."""
        lines = [_pair("schema", SCHEMA)]
        for key, entry in sorted(self.entries.items()):
            tag, host = _quoted(entry.tag), _quoted(entry.host)
            place = f"tags.{tag}.{host}"
            # Unchanged when its values change, it keeps those of two neighbours apart in a merge.
            lines.append(f"# {tag} on {host}")
            lines += [f"{place}.{_pair(*pair)}" for pair in _values(entry).items()]
            if before := self.earlier.get(key):
                tables = (", ".join(_pair(*p) for p in _values(e).items()) for e in before)
                lines.append(f"{place}.earlier = [{', '.join(f'{{ {t} }}' for t in tables)}]")
        return _HEADER + "".join(f"{line}\n" for line in lines)


def update(
    path: Path,
    entries: Iterable[LockEntry],
    removed: Iterable[tuple[str, str]] = (),
    keep: int = 0,
) -> Lockfile:
    """Merge entries into the lockfile on disk; two pushes at once don't lose each other's.

    Args:
        removed: (tag, host) of entries to drop.
        keep: how many earlier entries of a tag stay known.

    Raises:
        LockfileError: it can't be read, locked or written.
    """
    with _locked(path):
        lockfile = Lockfile.load(path).merged(entries, removed, keep)
        write_whole(path, lockfile.dumps())
    return lockfile


def changes(
    entry: LockEntry | None, wanted: Mapping[str, object], held_digest: str | None
) -> tuple[str, ...]:
    """Why a tag has to be pushed, in words; empty: there is nothing to do.

    Args:
        entry: what the lockfile says of the tag on that host.
        wanted: fields of `LockEntry` as a push would write them.
        held_digest: the manifest digest that the server lists for the tag; None: not there.
    """
    if entry is None:
        return ("it was never pushed there",)
    now = {name: getattr(entry, name) for name in wanted}
    found = [f"{_words(name)} changed" for name in wanted if now[name] != wanted[name]]
    if held_digest is None:
        found.append("the server does not have it")
    elif held_digest != entry.manifest_digest:
        found.append("the server's tag is not the one that was pushed")
    return tuple(found)


def unchanged(
    entry: LockEntry | None, wanted: Mapping[str, object], held_digest: str | None
) -> bool:
    """Whether a push of a tag has nothing to do; arguments as for `changes`."""
    return not changes(entry, wanted, held_digest)


def _other_contents(known: Sequence[LockEntry]) -> tuple[LockEntry, ...]:
    """What a tag was before, each content once; the first of `known` is what it is."""
    contents = {known[0].manifest_digest: known[0]}
    for entry in known[1:]:
        contents.setdefault(entry.manifest_digest, entry)
    return tuple(contents.values())[1:]


def _values(entry: LockEntry) -> dict[str, Any]:
    """An entry's table: its tag and its host are the table's name."""
    named = ("tag", "host")
    return {k: v for k, v in asdict(entry).items() if v is not None and k not in named}


def _pair(name: str, value: Any) -> str:
    """`name = value`, as TOML writes it on one line."""
    return tomli_w.dumps({name: value}, multiline_strings=False).rstrip("\n")


def _quoted(key: str) -> str:
    return _pair(key, 0).removesuffix(" = 0")


def _parse(text: str, name: str) -> Iterator[tuple[LockEntry, tuple[LockEntry, ...]]]:
    if any(line.startswith(_MERGE_MARKS) for line in text.splitlines()):
        raise LockfileError(
            f"{name} has merge-conflict marks", hint="deployq lock merge takes both sides"
        )
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as exc:
        raise LockfileError(f"{name} is damaged: {exc}", hint=_RENEW) from exc
    schema = content.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise LockfileError(
            f"{name} has schema {schema}, this deployq knows {SCHEMA}",
            hint="update deployq: pip install -U deployq",
        )
    if schema != SCHEMA:
        raise LockfileError(f"{name} is damaged: its schema is {schema!r}", hint=_RENEW)
    for tag, hosts in _table(content.get("tags", {}), name, "tags").items():
        for host, values in _table(hosts, name, tag).items():
            table = _table(values, name, f"{tag} on {host}")
            before = table.pop("earlier", [])
            if not isinstance(before, list):
                raise LockfileError(f"{name} is damaged: earlier of {tag}", hint=_RENEW)
            yield (
                _entry(tag, host, table, name),
                tuple(_entry(tag, host, _table(v, name, tag), name) for v in before),
            )


def _table(value: Any, name: str, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise LockfileError(f"{name} is damaged: {what} is no table", hint=_RENEW)
    return value


def _entry(tag: str, host: str, values: dict[str, Any], name: str) -> LockEntry:
    for key, value in values.items():
        if not _fits(key, value):
            raise LockfileError(
                f"{name} is damaged: {tag} on {host} has {key} = {value!r}", hint=_RENEW
            )
    try:
        return LockEntry(tag=tag, host=server_name(host), **values)
    except TypeError as exc:
        raise LockfileError(f"{name} is damaged: {tag} on {host}: {exc}", hint=_RENEW) from exc


def _fits(key: str, value: Any) -> bool:
    kind = _TYPES.get(key)
    if kind is None or isinstance(value, bool):
        return False
    return isinstance(value, kind)


_KINDS: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (float, int)}
_TYPES = {
    f.name: _KINDS[str(f.type).partition(" ")[0]]
    for f in fields(LockEntry)
    if f.name not in ("tag", "host")
}


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.parent / ".deployq" / f"{path.name}.guard"
    try:
        lock.parent.mkdir(exist_ok=True)
        with filelock.FileLock(lock, timeout=LOCK_SECONDS):
            yield
    except filelock.Timeout as exc:
        raise LockfileError(
            f"another deployq has held {path.name} for {LOCK_SECONDS} s", hint="wait for it to end"
        ) from exc
    except OSError as exc:
        raise LockfileError(f"cannot write {path.name}: {exc}") from exc


def _words(name: str) -> str:
    if name == "n_ctx":
        return "the context"
    return f"the {name.removesuffix('_digest').removesuffix('_key').replace('_', ' ')}"
