"""Which parts of a tag a server no longer has as they were put there.

Where the server's store is on this machine, a part is a file: it has to be there, with the size
that the manifest says and, if it is small, with the right bytes. Weights are hashed only on
request; a digest is then remembered for as long as nobody writes to the file.

Over the API a blob has neither a size nor a digest: HEAD says only that it is there, and there is
no GET. `/api/show` makes the server read every small part and the weights' header, and refuse a
header whose tensors run past the end of the file. So missing and cut parts are found there, too;
other bytes of the same length are not.
"""

from __future__ import annotations

from dataclasses import field
from http import HTTPStatus
from pathlib import Path
from typing import Literal, Protocol

from deployq.digests import DigestCache, sha256_file
from deployq.errors import ServerRefused
from deployq.records import dataclass
from deployq.tags.manifests import Layer, LocalStore
from deployq.tags.records import Shown
from deployq.types import Progress, no_progress

# What is no larger is hashed on every check: a template, parameters, a license.
SMALL_BYTES = 1 << 20
# How Ollama refuses to show a tag that it can't read; any other refusal says nothing of the tag.
_UNREADABLE = (HTTPStatus.NOT_FOUND, HTTPStatus.INTERNAL_SERVER_ERROR)

_GONE = "is gone from the server"
_CHANGED = "has other bytes on the server (sha256 {}…)"

Fault = Literal["gone", "cut", "changed", "unreadable"]


@dataclass(frozen=True)
class Damage:
    """One damaged part; `digest` is the blob's, "" where the server doesn't say which it is."""

    fault: Fault
    message: str
    digest: str = ""


def remembered_damage(blobs: Path, digests: DigestCache, digest: str) -> tuple[Damage, ...]:
    """What was found of a blob by an earlier hashing, whichever tag it was hashed for.

    Args:
        blobs: the folder of the server's blobs.
    """
    path = blobs / f"sha256-{digest}"
    try:
        found = digests.known(path)
    except OSError:  # it is not there
        return ()
    if found is None or found == digest:
        return ()
    return (_damage("changed", Layer("weights", digest, 0), _CHANGED.format(found[:12])),)


class ReadingServer(Protocol):
    """The part of a server that tells whether it can read a tag."""

    def has_blob(self, digest: str) -> bool: ...
    def show(self, name: str, *, fresh: bool = False) -> Shown: ...


@dataclass(frozen=True)
class StoreCheck:
    """Checks tags in a store on this machine; a blob that several of them share, once.

    Args:
        digests: remembers what was hashed.
        hash_weights: hash every byte, whatever is remembered.
        unread: gets the digests of blobs that this user may not read.
    """

    store: LocalStore
    digests: DigestCache
    hash_weights: bool = False
    progress: Progress = no_progress
    unread: set[str] = field(default_factory=set)
    _known: dict[str, Damage | None] = field(default_factory=dict)

    def damage(self, tag: str, *, hash_weights: bool = False) -> tuple[Damage, ...]:
        """The damaged parts of a tag.

        Args:
            hash_weights: hash this tag's, whatever is remembered.
        """
        held = self.store.find(tag)
        layers = held.layers if held is not None else ()
        hashing = hash_weights or self.hash_weights
        found = (self._damage(tag, layer, hashing) for layer in layers)
        return tuple(one for one in found if one is not None)

    def _damage(self, tag: str, layer: Layer, hashing: bool) -> Damage | None:
        if layer.digest not in self._known:
            try:
                self._known[layer.digest] = self._look(tag, layer, hashing)
            except PermissionError:
                self.unread.add(layer.digest)
                self._known[layer.digest] = None
            except OSError as exc:
                words = f"can't be read: {exc.strerror or exc}"
                self._known[layer.digest] = _damage("unreadable", layer, words)
        return self._known[layer.digest]

    def _look(self, tag: str, layer: Layer, hashing: bool) -> Damage | None:
        path = self.store.path(layer.digest)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return _damage("gone", layer, _GONE)
        if size != layer.size_bytes:
            return _damage("cut", layer, f"has {size:,} bytes instead of {layer.size_bytes:,}")
        if size <= SMALL_BYTES:
            found: str | None = sha256_file(path)
        elif hashing:
            task = f"hashing the {layer.kind} of {tag}"
            found = sha256_file(path, lambda done: self.progress(task, done, size, "bytes"))
            self.digests.remember(path, found)
        else:
            found = self.digests.known(path)
        if found is None or found == layer.digest:
            return None
        return _damage("changed", layer, _CHANGED.format(found[:12]))


def served_damage(server: ReadingServer, tag: str, blobs: tuple[str, ...]) -> tuple[Damage, ...]:
    """The damaged parts of a tag, as far as a server's API tells.

    Args:
        blobs: digests (hex) of its weights and what comes with them, where they are known.

    Raises:
        ServerError: the server can't be asked.
    """
    gone = [
        Damage("gone", f"its blob sha256:{digest[:12]}… {_GONE}", digest)
        for digest in blobs
        if not server.has_blob(digest)
    ]
    if gone:
        return tuple(gone)
    try:
        server.show(tag, fresh=True)
    except ServerRefused as exc:
        if exc.status not in _UNREADABLE:
            raise
        return (Damage("unreadable", f"the server can't read it: {exc.message}"),)
    return ()


def _damage(fault: Fault, layer: Layer, what: str) -> Damage:
    message = f"its {layer.kind} blob sha256:{layer.digest[:12]}… {what}"
    return Damage(fault, message, layer.digest)
