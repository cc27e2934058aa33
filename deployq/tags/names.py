"""Ollama's names: what a server takes as one, and how deployq names its own.

The rules are Ollama's (`types/model/name.go` and `server/model_resolver.go` of 0.34.4): a name
is `[namespace/]model:tag`, two names that differ in letter case alone are one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from deployq.digests import sha256_bytes
from deployq.errors import ConfigError

STAGING = "deployq-staging"
HISTORY = "deployq-history"
MAX_PART_BYTES = 80
RESERVED_TAGS = frozenset({"cloud", "local"})
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*", re.ASCII)
_IN_USE = "in-use"
_OWNED = re.compile(rf"{STAGING}/[^:/]+:(?P<what>.+)\.(?P<owner>[0-9a-f]{{8}})", re.IGNORECASE)


@dataclass(frozen=True, order=True)
class TagName:
    """A checked name on a server; `str()` gives the form to send: `[namespace/]model:tag`."""

    model: str
    tag: str
    namespace: str = ""

    def __post_init__(self) -> None:
        _check(self.model, "model name", _PART)
        _check(self.tag, "tag", _PART)
        if self.namespace:
            _check(self.namespace, "namespace", _NAMESPACE)
        folded = self.tag.lower()
        if folded in RESERVED_TAGS or folded.endswith("-cloud"):
            raise ConfigError(
                f"{self}: Ollama reserves the tag {self.tag!r} for models that run elsewhere",
                hint="choose another tag; cloud, local and *-cloud are taken",
            )

    @classmethod
    def parse(cls, text: str) -> TagName:
        """Read `[namespace/]model[:tag]`; without a tag it is `latest`.

        Raises:
            ConfigError: Ollama would not take it; the message names the part and its fault.
        """
        rest, colon, tag = text.rpartition(":")
        if not colon:
            rest, tag = text, "latest"
        namespace, _, model = rest.rpartition("/")
        return cls(model=model, tag=tag, namespace=namespace)

    def __str__(self) -> str:
        prefix = f"{self.namespace}/" if self.namespace else ""
        return f"{prefix}{self.model}:{self.tag}"

    @property
    def folded(self) -> str:
        """What tells names apart: a server ignores letter case."""
        return str(self).lower()

    def same(self, other: TagName | str) -> bool:
        """Whether a server holds both for one name."""
        return same_name(str(self), str(other))


def same_name(one: str, other: str) -> bool:
    """Whether two names as servers list them are one; letter case does not count."""
    return _complete(one) == _complete(other)


def quant_tag(model: str, quant: str) -> TagName:
    """The tag that holds one quant of a model: `task-api:q4_k_m`."""
    return TagName(model=model, tag=quant.lower())


def alias(model: str, target: str) -> TagName:
    """The tag of a target: `task-api:laptop`."""
    return TagName(model=model, tag=target)


def staging_name(name: TagName, owner: str) -> TagName:
    """Where a tag is created and verified before it gets its name.

    A name that has a namespace keeps it as a part of the model's: `me/task-api:x` becomes
    `deployq-staging/me.task-api:x.3f2a9c1d`.

    Args:
        owner: the id of the push, 8 hex digits; two pushes don't share a staging name.
    """
    tag = name.tag
    if len(tag) + 1 + len(owner) > MAX_PART_BYTES:
        tag = sha256_bytes(tag)[:32]
    return TagName(model=_inside(name), tag=f"{tag}.{owner}", namespace=STAGING)


def marker_name(model: str, owner: str) -> TagName:
    """What says on a server that a push is at work: `deployq-staging/task-api:in-use.3f2a9c1d`."""
    return TagName(model=model, tag=f"{_IN_USE}.{owner}", namespace=STAGING)


def is_marker(name: str) -> bool:
    """Whether a name on a server is a marker's."""
    found = _OWNED.fullmatch(name)
    return found is not None and found["what"].lower() == _IN_USE


def owner_of(name: str) -> str | None:
    """The id of the push that staged a tag, or whose marker it is; None: it has none."""
    found = _OWNED.fullmatch(name)
    return found["owner"].lower() if found else None


def staged_model(name: str) -> str:
    """The model in a name below `deployq-staging/`."""
    return name.partition("/")[2].rpartition(":")[0]


def history_name(name: TagName, number: int) -> TagName:
    """Where an earlier generation of a tag is kept: `deployq-history/task-api:q4_k_m.3`.

    Raises:
        ConfigError: the tag is so long that no number fits behind it.
    """
    return TagName(model=_inside(name), tag=f"{name.tag}.{number}", namespace=HISTORY)


def generation_number(name: TagName, other: str) -> int | None:
    """Which generation of `name` the tag `other` keeps; None: none of it."""
    prefix = f"{HISTORY}/{_inside(name)}:{name.tag}.".lower()
    rest = other.lower().removeprefix(prefix)
    known = other.lower().startswith(prefix) and rest.isascii() and rest.isdigit()
    return int(rest) if known else None


def is_internal(name: str) -> bool:
    """Whether a tag is one of deployq's own: staged, or an earlier generation."""
    return name.lower().startswith((f"{STAGING}/", f"{HISTORY}/"))


def _inside(name: TagName) -> str:
    """The model's name inside one of deployq's namespaces."""
    return f"{name.namespace}.{name.model}" if name.namespace else name.model


def _check(part: str, kind: str, pattern: re.Pattern[str]) -> None:
    fault = _fault(part, pattern)
    if fault:
        raise ConfigError(
            f"{kind} {part!r} {fault}",
            hint="a name starts with a letter, a digit or _; then also - and . "
            f"(no . in a namespace); at most {MAX_PART_BYTES} bytes",
        )


def _fault(part: str, pattern: re.Pattern[str]) -> str:
    if not part:
        return "is empty"
    if len(part.encode("utf-8", "surrogatepass")) > MAX_PART_BYTES:
        return f"is longer than {MAX_PART_BYTES} bytes"
    matched = pattern.match(part)
    if matched is None:
        return f"must not start with {part[0]!r}"
    if matched.end() < len(part):
        return f"must not contain {part[matched.end()]!r}"
    return ""


def _complete(name: str) -> str:
    folded = name.lower()
    return folded if ":" in folded.rpartition("/")[2] else f"{folded}:latest"
