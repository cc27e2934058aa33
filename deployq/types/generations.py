"""What a tag was before, and whether it still is what it was pushed as."""

from __future__ import annotations

from typing import Literal

from deployq.records import dataclass

TagState = Literal["ok", "drifted", "damaged", "lost", "unknown", "unreachable"]


@dataclass(frozen=True)
class Generation:
    """One content of a tag, the present or an earlier one; `number` counts up with each.

    What the lockfile does not know of it is None.
    """

    tag: str
    number: int
    current: bool
    manifest_digest: str
    size_bytes: int
    quant: str = ""
    n_ctx: int | None = None
    blob_digest: str | None = None
    source_digest: str | None = None
    passed: int | None = None
    total: int | None = None
    pushed_at: str | None = None


@dataclass(frozen=True)
class TagDifference:
    """Two contents of tags side by side; `modelfile` is a unified diff, line by line."""

    one: str
    other: str
    facts: tuple[tuple[str, str, str], ...]
    modelfile: tuple[str, ...]

    @property
    def same(self) -> bool:
        return not self.facts and not self.modelfile


@dataclass(frozen=True)
class TagStatus:
    """One tag of the lockfile against its server and the configuration, as they are now.

    `drifted`: something changed since it was pushed; `damaged`: the server lists it, but a part of
    it is gone, cut or has other bytes; `lost`: the server does not have it; `unknown`: the server
    has it and the lockfile does not.
    """

    tag: str
    host: str
    state: TagState
    reasons: tuple[str, ...] = ()
    alias_of: str | None = None
    quant: str = ""
    pushed_at: str = ""

    @property
    def ok(self) -> bool:
        """Nothing that the lockfile says is untrue; what it does not know is not its business."""
        return self.state in ("ok", "unknown")
