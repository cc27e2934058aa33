"""Names of models as Ollama reads them: host/namespace/model:tag."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
_MISSING = "!MISSING!"
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}", re.ASCII)
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", re.ASCII)


@dataclass(frozen=True)
class Name:
    """One full name; `valid` tells whether Ollama takes it."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def valid(self) -> bool:
        return bool(
            _HOST.fullmatch(self.host)
            and _NAMESPACE.fullmatch(self.namespace)
            and _PART.fullmatch(self.model)
            and _PART.fullmatch(self.tag)
        )

    @property
    def path(self) -> PurePosixPath:
        """Where the manifest stands, below the folder of manifests."""
        return PurePosixPath(self.host, self.namespace, self.model, self.tag)

    @property
    def folded(self) -> tuple[str, str, str, str]:
        """The parts without letter case: what makes two names the same."""
        return (
            self.host.lower(),
            self.namespace.lower(),
            self.model.lower(),
            self.tag.lower(),
        )

    @property
    def full(self) -> str:
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def short(self) -> str:
        """The name as lists show it: without the default host and namespace."""
        if self.host.lower() != DEFAULT_HOST:
            return self.full
        if self.namespace.lower() != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"


def parse_name(text: str) -> Name:
    """Read a name and fill in what it leaves out; the result may be invalid (`Name.valid`)."""
    rest, tag = text, DEFAULT_TAG
    if text.rfind(":") > text.rfind("/"):
        rest, tag = _cut(text, ":")
    host, namespace = DEFAULT_HOST, DEFAULT_NAMESPACE
    if "/" in rest:
        rest, model = _cut(rest, "/")
        namespace = rest
        if "/" in rest:
            host, namespace = _cut(rest, "/")
            host = host.partition("://")[2] or host
    else:
        model = rest
    return Name(host, namespace, model, tag)


def _cut(text: str, mark: str) -> tuple[str, str]:
    """What stands before and after the last `mark`; an empty side makes the name invalid."""
    before, _, after = text.rpartition(mark)
    return before or _MISSING, after or _MISSING


def settle(name: Name, existing: list[Name]) -> Name:
    """The spelling that the store uses already: of the whole name, else of its first parts."""
    best, best_length = name, 0
    for other in existing:
        length = _common(name.folded, other.folded)
        if length > best_length:
            best, best_length = other, length
    if best_length == 4:
        return best
    parts = (best.host, best.namespace, best.model)[:best_length]
    own = (name.host, name.namespace, name.model)[best_length:]
    host, namespace, model = (*parts, *own)
    return Name(host, namespace, model, name.tag)


def _common(left: tuple[str, ...], right: tuple[str, ...]) -> int:
    for length, (a, b) in enumerate(zip(left, right, strict=True)):
        if a != b:
            return length
    return len(left)
