"""A server's store on this machine, read as it lies on disk: which tags are made of which blobs.

    manifests/<host>/<namespace>/<model>/<tag>      JSON: a config and layers, each with its digest
    blobs/sha256-<hex>                              a blob; under other names: not finished

Nothing is written here: tags are taken away by their server alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from deployq.errors import DiskError
from deployq.records import dataclass
from deployq.tags.names import same_name
from deployq.tags.records import TagRecord

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
BLOB = re.compile(r"sha256-([0-9a-f]{64})")
# What people call the parts whose media type ends in another word.
_KINDS = {"model": "weights", "params": "parameters", "v1+json": "configuration"}


@dataclass(frozen=True)
class Layer:
    """One part of a tag: what it is (`weights`, `template`, ...), its blob and that blob's size."""

    kind: str
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class Held:
    """One tag: `digest` (hex) is that of its manifest, `layers` are its parts.

    `readable` is False for a manifest that is empty or cut: what it holds is not known.
    """

    name: str
    digest: str
    layers: tuple[Layer, ...] = ()
    readable: bool = True

    @property
    def blobs(self) -> frozenset[str]:
        """Digests of its parts."""
        return frozenset(layer.digest for layer in self.layers)


@dataclass(frozen=True)
class LocalStore:
    """What was in a models folder when it was read."""

    folder: Path
    tags: tuple[Held, ...]

    @classmethod
    def read(cls, folder: Path) -> LocalStore:
        """Read every manifest.

        Raises:
            DiskError: they can't be read.
        """
        manifests = folder / "manifests"
        try:
            files = sorted(path for path in manifests.glob("*/*/*/*") if path.is_file())
            return cls(folder, tuple(_held(path.relative_to(manifests), path) for path in files))
        except OSError as exc:
            raise DiskError(f"cannot read the models in {folder}: {exc.strerror or exc}") from exc

    def is_that_of(self, listed: Collection[TagRecord]) -> bool:
        """Whether it holds the tags that a server lists, in every part.

        Without a single tag that can't be told.
        """
        return bool(listed) and {tag.digest for tag in listed} <= {h.digest for h in self.tags}

    def find(self, name: str) -> Held | None:
        """A tag by its name, as the server would."""
        return next((held for held in self.tags if same_name(held.name, name)), None)

    def without(self, names: Collection[str]) -> LocalStore:
        """As it will be once these tags are gone."""
        kept = (h for h in self.tags if not any(same_name(h.name, name) for name in names))
        return LocalStore(self.folder, tuple(kept))

    @property
    def used(self) -> frozenset[str]:
        """Digests of all blobs that some tag is made of."""
        return frozenset(digest for held in self.tags for digest in held.blobs)

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Tags whose manifest says nothing: any blob may be theirs."""
        return tuple(held.name for held in self.tags if not held.readable)

    def path(self, digest: str) -> Path:
        """Where a blob lies, or would."""
        return self.folder / "blobs" / f"sha256-{digest}"

    def unused(self) -> list[Path]:
        """Every file among the blobs that no tag is made of, unfinished ones too."""
        folder = self.folder / "blobs"
        used = self.used
        try:
            files = sorted(path for path in folder.iterdir() if path.is_file())
        except OSError as exc:
            raise DiskError(f"cannot read {folder}: {exc.strerror or exc}") from exc
        return [path for path in files if digest_in(path.name) not in used]


def digest_in(name: str) -> str | None:
    """The digest (hex) that a file among the blobs is named by; None: it was not finished."""
    matched = BLOB.fullmatch(name)
    return matched.group(1) if matched else None


def _held(relative: Path, path: Path) -> Held:
    host, namespace, model, tag = relative.parts
    name = f"{model}:{tag}"
    if (host, namespace) != (DEFAULT_HOST, DEFAULT_NAMESPACE):
        name = f"{namespace}/{name}"
    if host != DEFAULT_HOST:
        name = f"{host}/{name}"
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    try:
        return Held(name, digest, _layers(json.loads(content)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Held(name, digest, readable=False)


def _layers(manifest: Mapping[str, object]) -> tuple[Layer, ...]:
    layers, config = manifest["layers"], manifest["config"]
    if not isinstance(layers, list) or not isinstance(config, dict):
        raise TypeError("no manifest")
    return tuple(_layer(layer) for layer in (*layers, config) if layer.get("digest"))


def _layer(layer: Mapping[str, object]) -> Layer:
    kind = str(layer.get("mediaType", "")).rpartition(".")[2]
    digest = str(layer["digest"]).replace(":", "-").removeprefix("sha256-")
    return Layer(_KINDS.get(kind, kind), digest, int(str(layer["size"])))
