"""Tags on disk, in Ollama's own layout: a real Ollama started on the folder sees the same ones.

blobs/sha256-<hex>                                    weights, texts, configurations
manifests/<host>/<namespace>/<model>/<tag>            which blobs make a tag
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployq_runtimes.server.errors import ApiError
from deployq_runtimes.server.gojson import go_json
from deployq_runtimes.server.names import Name, settle

MEDIA = "application/vnd.ollama.image."
CONFIG_MEDIA = "application/vnd.docker.container.image.v1+json"
MANIFEST_MEDIA = "application/vnd.docker.distribution.manifest.v2+json"
_DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}", re.ASCII)


@dataclass(frozen=True)
class Layer:
    """One blob of a tag; `source` is the file name that weights came under."""

    media: str
    digest: str
    size: int
    source: str = ""

    @property
    def kind(self) -> str:
        """`model`, `template`, `system`, `params`, `messages`, `license`, `adapter` ..."""
        return self.media.removeprefix(MEDIA)

    def to_json(self) -> dict[str, Any]:
        content: dict[str, Any] = {
            "mediaType": self.media,
            "digest": self.digest,
            "size": self.size,
        }
        return content | ({"from": self.source} if self.source else {})


@dataclass(frozen=True)
class Manifest:
    """A tag's parts. `digest` is that of the manifest file itself, `modified_ns` its mtime."""

    config: Layer
    layers: tuple[Layer, ...]
    digest: str = ""
    modified_ns: int = 0

    @property
    def size(self) -> int:
        """Bytes of all parts together."""
        return sum(layer.size for layer in (*self.layers, self.config))

    @property
    def digests(self) -> set[str]:
        return {layer.digest for layer in (*self.layers, self.config) if layer.digest}

    def of_kind(self, kind: str) -> list[Layer]:
        return [layer for layer in self.layers if layer.kind == kind]


class Store:
    """The folder that `OLLAMA_MODELS` would name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = folder / "blobs"
        self.manifests = folder / "manifests"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.manifests.mkdir(parents=True, exist_ok=True)

    # ------------------------------------------------------------ blobs

    def blob(self, digest: str) -> Path:
        """Where a blob stands or would stand.

        Raises:
            ApiError: that is no digest.
        """
        if not _DIGEST.fullmatch(digest):
            raise ApiError(400, "invalid digest format")
        return self.blobs / digest.replace(":", "-")

    def add(self, content: bytes) -> tuple[str, bool]:
        """Keep a small blob: its digest, and whether it was there already."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        path = self.blob(digest)
        if path.exists():
            return digest, True
        with self._temporary() as (file, temporary):
            file.write(content)
            file.close()
            temporary.replace(path)
        return digest, False

    async def receive(self, chunks: AsyncIterator[bytes]) -> str:
        """Keep an uploaded blob under its own digest, which is returned; all of it or nothing."""
        digest = hashlib.sha256()
        with self._temporary() as (file, temporary):
            async for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
            file.close()
            temporary.chmod(0o644)
            temporary.replace(self.blobs / f"sha256-{digest.hexdigest()}")
        return f"sha256:{digest.hexdigest()}"

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[tuple[Any, Path]]:
        """A file beside the blobs; what is left of it afterwards is removed."""
        with tempfile.NamedTemporaryFile(
            dir=self.blobs, prefix="sha256-", suffix="-partial", delete=False
        ) as file:
            try:
                yield file, Path(file.name)
            finally:
                Path(file.name).unlink(missing_ok=True)

    # ------------------------------------------------------------ tags

    def names(self) -> list[Name]:
        """Every name that has a manifest, readable or not."""
        found = (path.relative_to(self.manifests).parts for path in self.manifests.glob("*/*/*/*"))
        return [name for parts in found if (name := Name(*parts)).valid]

    def settle(self, name: Name) -> Name:
        """The name in the spelling that the store uses already."""
        return settle(name, self.names())

    def read(self, name: Name) -> Manifest:
        """A tag's manifest.

        Raises:
            FileNotFoundError: there is no such tag.
            ApiError: the manifest is empty or cut.
        """
        path = self.manifests / name.path
        content = path.read_bytes()
        try:
            parsed = json.loads(content)
            config, layers = _layer(parsed["config"]), tuple(map(_layer, parsed["layers"]))
        except ValueError as exc:
            raise ApiError(500, "unexpected EOF" if content.strip() else "EOF") from exc
        except (KeyError, TypeError) as exc:
            raise ApiError(500, f"the manifest of {name.short} is damaged: {exc!r}") from exc
        digest = hashlib.sha256(content).hexdigest()
        return Manifest(config, layers, digest, path.stat().st_mtime_ns)

    def readable(self) -> Iterator[tuple[Name, Manifest]]:
        """Every tag with a whole manifest; damaged ones are left out, as Ollama does."""
        for name in self.names():
            with contextlib.suppress(FileNotFoundError, ApiError):
                yield name, self.read(name)

    def write(self, name: Name, manifest: Manifest) -> None:
        """Make or replace a tag at one stroke; blobs that only the old one used are removed."""
        old = self._digests(name)
        content = go_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_MEDIA,
                "config": manifest.config.to_json(),
                "layers": [layer.to_json() for layer in manifest.layers],
            }
        )
        self._place(name, content)
        self._drop(old)

    def copy(self, source: Name, destination: Name) -> None:
        """Give a tag another name.

        Raises:
            FileNotFoundError: there is no such tag.
        """
        content = (self.manifests / source.path).read_bytes()
        if source != destination:
            self._place(destination, content)

    def delete(self, name: Name) -> None:
        """Remove a tag and the blobs that no other one uses.

        Raises:
            FileNotFoundError: there is no such tag.
        """
        digests = self.read(name).digests
        path = self.manifests / name.path
        path.unlink()
        for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
            with contextlib.suppress(OSError):
                folder.rmdir()
        self._drop(digests)

    def _place(self, name: Name, content: bytes) -> None:
        path = self.manifests / name.path
        path.parent.mkdir(parents=True, exist_ok=True)
        # Outside the folder of manifests: a real Ollama takes every file in there for a tag.
        temporary = self.folder / f".manifest-{os.getpid()}"
        temporary.write_bytes(content)
        temporary.replace(path)

    def _digests(self, name: Name) -> set[str]:
        try:
            return self.read(name).digests
        except (FileNotFoundError, ApiError):
            return set()

    def _drop(self, digests: set[str]) -> None:
        used = {digest for _, manifest in self.readable() for digest in manifest.digests}
        for digest in digests - used:
            self.blob(digest).unlink(missing_ok=True)


def _layer(content: dict[str, Any]) -> Layer:
    return Layer(
        media=str(content["mediaType"]),
        digest=str(content["digest"]),
        size=int(content["size"]),
        source=str(content.get("from") or ""),
    )
