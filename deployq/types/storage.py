"""What lies on disk: artifacts in the cache, and what could go from there and from a server."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from deployq.records import dataclass

LeftoverKind = Literal[
    "staged tag",
    "earlier generation",
    "blob",
    "unfinished file",
    "artifact",
    "half-built artifact",
    "importance matrix",
    "text",
]


@dataclass(frozen=True)
class Leftover:
    """One thing that could go. `name` is a tag, an artifact's key, or a file's name.

    `frees_bytes` is what its going frees after all those before it in the list; `size_bytes` what
    it is by itself. `made_here` False: deployq can't tell that it made it, so only whoever names
    it takes it away. `digest` is a tag's manifest's.
    """

    kind: LeftoverKind
    name: str
    size_bytes: int
    frees_bytes: int
    why: str
    made_here: bool = True
    path: Path | None = None
    digest: str = ""


@dataclass(frozen=True)
class Leftovers:
    """All of them, in the order in which they go; `notes` say what was left alone, and why."""

    items: tuple[Leftover, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pruned:
    """What became of one thing; `problem` is why it is still there."""

    item: Leftover
    freed_bytes: int = 0
    problem: str = ""


@dataclass(frozen=True)
class CachedArtifact:
    """One artifact of the cache.

    `links` counts servers' stores that hold the same file. `finished` and `used` are UTC, ISO
    8601. `damaged` says what is wrong with it, "" if nothing is known; `verified`: it was hashed
    just now. `tags` are those of known lockfiles that were made of it.
    """

    key: str
    quant: str
    file_bytes: int
    digest: str
    source_digest: str
    backend: str
    backend_version: str
    finished: str
    used: str
    links: int = 0
    tags: tuple[str, ...] = ()
    damaged: str = ""
    verified: bool = False


@dataclass(frozen=True)
class HalfBuilt:
    """What there is of an artifact that is not finished; `alive`: somebody builds it now."""

    key: str
    folder: Path
    n_bytes: int
    alive: bool = False
