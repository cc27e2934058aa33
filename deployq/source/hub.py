"""The Hugging Face hub, by its own library, with that library's cache, token and offline mode.

Imported with the first `hf:` source (`__init__.pyi`); the library is an extra:
pip install 'deployq[hf]'. HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are its own.
"""

from __future__ import annotations

import contextlib
import glob
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
from filelock import FileLock, Timeout
from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    hf_hub_url,
    snapshot_download,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status, tqdm

from deployq.digests import sha256_file
from deployq.errors import ConfigError, DeployqError, DiskError, SourceError
from deployq.files import write_whole
from deployq.records import dataclass
from deployq.source.hub_names import HubName
from deployq.types import Progress
from deployq.units import format_bytes

_SHA256 = re.compile(r"[0-9a-f]{64}")  # of a large file; small ones have a git hash
_ROOM_LEFT = 1 << 30  # a full disk is no place to work on


@dataclass(frozen=True)
class Revision:
    """A repository at one commit. `files` has their sizes in bytes.

    `stale` says why it is only what was cached of it that is known.
    """

    name: HubName
    commit: str
    files: Mapping[str, int]
    stale: str = ""

    @property
    def folder(self) -> Path:
        """Its snapshot in the library's cache, there or not."""
        return _storage(self.name) / "snapshots" / self.commit

    def missing(self, files: Iterable[str]) -> list[str]:
        """Those that are not on this machine."""
        return [file for file in files if not (self.folder / file).is_file()]


def hub_cache() -> Path:
    return Path(constants.HF_HUB_CACHE)


def find_revision(name: HubName, records: Path, *, ask: bool = True) -> Revision:
    """What a repository holds at its revision; a commit that was looked up once is not asked again.

    Where the hub can't be reached, or `ask` is off, what the cache has counts.

    Args:
        records: a folder of deployq's, where the listings of commits are kept.

    Raises:
        ConfigError: no such repository or revision.
        SourceError: it can't be asked for, and isn't cached.
    """
    if name.is_pinned and (known := _recorded(name, name.revision, records)):
        return known
    if not ask:
        return _cached(name, records, "")
    try:
        with mapped(name):
            return _asked(name, records)
    except Unreachable as exc:
        return _cached(name, records, exc.message, exc)


def download(
    found: Revision, files: Iterable[str], progress: Progress, large: Iterable[str] = ()
) -> Path:
    """The folder of a snapshot that has these files; what is there already is not asked for.

    Args:
        large: those of them that go on where an interrupted download ended.

    Raises:
        SourceError, ConfigError: the hub can't be reached, or refuses.
        DiskError: there is no room.
    """
    missing = found.missing(files)
    if not missing:
        return found.folder
    total = sum(found.files.get(file, 0) for file in missing)
    _require_room(found, total)
    bar = _bar(progress, f"downloading {found.name}", total)
    with mapped(found.name):
        for file in found.missing(large):
            _fetch_blob(found, file, bar)
        snapshot_download(
            found.name.repo,
            revision=found.commit,
            allow_patterns=[glob.escape(file) for file in missing],
            tqdm_class=bar,
        )
    if lost := found.missing(missing):
        raise SourceError(
            f"{found.name}: {', '.join(lost)} did not arrive", hint="repeat the command"
        )
    return found.folder


def _fetch_blob(found: Revision, file: str, bar: type[tqdm]) -> None:
    """Put a large file's content where the library looks for it, from where it was cut off before.

    The library itself begins every download anew (huggingface_hub PR 4228). What it alone can
    fetch, above its limit for plain HTTP, and what another process is fetching, is left to it.

    Raises:
        SourceError: the bytes are others than the hub announced.
    """
    url, headers = hf_hub_url(found.name.repo, file, revision=found.commit), build_hf_headers()
    told = get_hf_file_metadata(url, headers=headers)
    if not told.etag or not _SHA256.fullmatch(told.etag) or not told.size:
        return
    blob = _storage(found.name) / "blobs" / told.etag
    fast = told.xet_file_data is not None and constants.HF_XET_HIGH_PERFORMANCE  # was asked for
    if blob.is_file() or fast or told.size > constants.MAX_HTTP_DOWNLOAD_SIZE:
        return
    blob.parent.mkdir(parents=True, exist_ok=True)
    partial = blob.with_name(f"{told.etag}.deployq.incomplete")
    lock = FileLock(partial.with_suffix(".lock"))
    try:
        with lock.acquire(timeout=0), partial.open("ab") as stream:
            there = stream.tell()
            if there < told.size:
                http_get(
                    url,
                    stream,
                    resume_size=there,
                    headers=headers,
                    expected_size=told.size,
                    displayed_filename=file,
                    tqdm_class=bar,
                )
    except Timeout:
        return
    if sha256_file(partial) != told.etag:
        partial.unlink()
        raise SourceError(
            f"{found.name}: {file} arrived with other bytes than the hub announced",
            hint="repeat the command: it is fetched from its beginning",
        )
    partial.replace(blob)
    Path(lock.lock_file).unlink(missing_ok=True)


def read_start(found: Revision, file: str, n_bytes: int) -> bytes:
    """The first bytes of a file, without the rest of it.

    Raises:
        SourceError, ConfigError: the hub can't be reached, or refuses.
    """
    url = hf_hub_url(found.name.repo, file, revision=found.commit)
    headers = {**build_hf_headers(), "Range": f"bytes=0-{n_bytes - 1}"}
    start = bytearray()
    with (
        mapped(found.name),
        get_session().stream("GET", url, headers=headers, follow_redirects=True) as answer,
    ):
        hf_raise_for_status(answer)
        for chunk in answer.iter_bytes():
            start += chunk
            if len(start) >= n_bytes:  # a server may give all of it
                break
    return bytes(start[:n_bytes])


# ---------------------------------------------------------------- asking


def _asked(name: HubName, records: Path) -> Revision:
    info = HfApi().model_info(name.repo, revision=name.revision or None, files_metadata=True)
    files = {one.rfilename: one.size or 0 for one in info.siblings or ()}
    if not info.sha:
        raise SourceError(f"{name}: the hub does not say which commit that is")
    found = Revision(name, info.sha, files)
    record = _record(name, info.sha, records)
    with contextlib.suppress(OSError):  # what can't be kept is asked for again
        record.parent.mkdir(parents=True, exist_ok=True)
        write_whole(record, json.dumps(files))
        reference = _reference(name)
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(info.sha)
    return found


def _cached(name: HubName, records: Path, why: str, cause: BaseException | None = None) -> Revision:
    """What is on this machine of a repository.

    Raises:
        SourceError: nothing.
    """
    commit = name.revision if name.is_pinned else _read_reference(name)
    if known := commit and _recorded(name, commit, records):
        return Revision(name, commit, known.files, why)
    folder = _storage(name) / "snapshots" / commit
    if not commit or not folder.is_dir():
        at = f" at {name.revision}" if name.revision else ""
        raise SourceError(
            f"{name}{at}: is not on this machine{f', and {why}' if why else ''}",
            hint=f"deployq plan {name} where the hub can be reached, with the same HF_HOME"
            if why
            else f"deployq plan {name} fetches it",
        ) from cause
    files = [f for f in folder.rglob("*") if f.is_file()]
    sizes = {f.relative_to(folder).as_posix(): f.stat().st_size for f in files}
    return Revision(name, commit, sizes, why or "what else it holds was never asked")


def _storage(name: HubName) -> Path:
    return hub_cache() / repo_folder_name(repo_id=name.repo, repo_type="model")


def _reference(name: HubName) -> Path:
    return _storage(name) / "refs" / (name.revision or constants.DEFAULT_REVISION)


def _read_reference(name: HubName) -> str:
    try:
        return _reference(name).read_text().strip()
    except OSError:
        return ""


def _record(name: HubName, commit: str, records: Path) -> Path:
    return records / name.repo.replace("/", "--") / f"{commit}.json"


def _recorded(name: HubName, commit: str, records: Path) -> Revision | None:
    try:
        files = json.loads(_record(name, commit, records).read_text())
    except (OSError, ValueError):
        return None
    return Revision(name, commit, files) if isinstance(files, dict) and files else None


# ---------------------------------------------------------------- the library's ways


class Unreachable(SourceError):
    """Nobody answers, or nobody may be asked; what is cached may do."""


@contextlib.contextmanager
def mapped(name: HubName) -> Iterator[None]:
    """The library's errors as ours. None of their texts is repeated: a URL can be signed."""
    try:
        yield
    except HFValidationError as exc:
        raise ConfigError(f"{name}: is no name of a repository", hint="hf:ORG/NAME") from exc
    except (OfflineModeIsEnabled, LocalEntryNotFoundError) as exc:
        what = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub can't be reached"
        raise Unreachable(f"{name}: {what}", hint="where it is cached, it is used") from exc
    except HfHubHTTPError as exc:
        raise _refused(name, exc) from exc
    except httpx2.HTTPError as exc:
        raise Unreachable(
            f"{name}: {constants.ENDPOINT} can't be reached ({type(exc).__name__})",
            hint="check the network, or HF_ENDPOINT",
        ) from exc
    except OSError as exc:
        raise DiskError(f"cannot write {hub_cache()}: {exc.strerror or exc}") from exc


def _refused(name: HubName, exc: HfHubHTTPError) -> DeployqError:
    """What the hub said no to, and what helps."""
    status = exc.response.status_code
    if isinstance(exc, GatedRepoError):
        return ConfigError(
            f"{name}: is gated; whoever wants it has to ask its authors",
            hint=f"ask at {constants.ENDPOINT}/{name.repo}, then hf auth login, or HF_TOKEN",
        )
    if isinstance(exc, RepositoryNotFoundError):
        return ConfigError(
            f"{name}: there is no such repository, or it is private and this token may not see it",
            hint="check its spelling (hf:ORG/NAME); for a private one hf auth login, or HF_TOKEN",
        )
    if isinstance(exc, RevisionNotFoundError):
        return ConfigError(
            f"{name}: has no revision {name.revision!r}",
            hint="a branch, a tag, or a commit's full hash",
        )
    if status in (401, 403):
        return ConfigError(
            f"{name}: the hub answered {status}: it is private, and the token is missing or may "
            "not see it",
            hint="hf auth login, or HF_TOKEN",
        )
    kind = SourceError if status < 500 else Unreachable
    return kind(f"{name}: the hub answered {status}", hint="try again later")


def _require_room(found: Revision, n_bytes: int) -> None:
    cache = hub_cache().absolute()
    there = next(p for p in (cache, *cache.parents) if p.exists())
    free = shutil.disk_usage(there).free
    if n_bytes + _ROOM_LEFT > free:
        raise DiskError(
            f"downloading {found.name} needs {format_bytes(n_bytes)} in {cache}, "
            f"{format_bytes(free)} are free",
            hint="free some room there, or set HF_HOME to another disk",
        )


def _bar(progress: Progress, task: str, total: int) -> type[tqdm]:
    """A bar of the library that draws nothing, and tells ours of bytes that were written."""

    class Bar(tqdm):
        seen = 0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            transfer = "transfer" in str(kwargs.get("name", ""))
            self.counts = kwargs.get("unit") == "B" and not transfer
            if self.counts:
                Bar.seen += int(kwargs.get("initial") or 0)
            super().__init__(*args, **(kwargs | {"disable": True}))  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            if self.counts and n:
                Bar.seen += int(n)
                progress(task, min(Bar.seen, total), total, "bytes")
            return None

    return Bar
