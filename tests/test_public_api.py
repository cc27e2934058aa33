"""What plugins can use changes with a line in the changelog, or not at all."""

from __future__ import annotations

import re
from pathlib import Path

import deployq
from deployq import hookspecs
from tests.public_api import changed, released, surface

ROOT = Path(__file__).resolve().parent.parent


def unreleased() -> str:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return text.partition("## [Unreleased]")[2].partition("\n## [")[0]


def words_of(name: str) -> list[str]:
    """What the changelog may call it: the name with or without the parts before it."""
    parts = name.removeprefix("hook ").removesuffix("()").split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def unnamed(names: list[str], log: str) -> list[str]:
    """The names that no `code` of the changelog has."""
    known = set(re.findall(r"[\w.]+", " ".join(re.findall(r"`([^`]+)`", log))))
    return [name for name in names if not known & set(words_of(name))]


def test_every_change_stands_in_the_changelog() -> None:
    missing = unnamed(changed(released(), surface()), unreleased())
    assert not missing, (
        f"the public API changed: {', '.join(missing)}. Say so under [Unreleased] in CHANGELOG.md, "
        "each name in `code`; raise API_VERSION where it says (docs/plugins/index.md)"
    )


def test_a_change_is_seen() -> None:
    now = surface()
    before = dict(now)
    del before["deployq.Backend"]
    before["deployq.Health.hint"] = "int"
    before["hook deployq_gone"] = "() -> None"
    before["deployq.testing.check_backend"] = "(backend) -> None"
    names = changed(before, now)
    assert names == [
        "deployq.Backend",
        "deployq.Health.hint",
        "deployq.testing.check_backend",
        "hook deployq_gone",
    ]
    assert unnamed(names, "no name at all, and `Health` is not enough") == names
    log = "`Backend` is new; `Health.hint` is a number; `check_backend` and `deployq_gone()`"
    assert unnamed(names, log) == []


def test_the_surface_is_whole() -> None:
    now = surface()
    for name in (
        "deployq.API_VERSION",
        "deployq.BackendError",
        "deployq.ServerRefused()",
        "deployq.Hardware.memory_bytes",
        "deployq.Progress",
        "deployq.Backend.quantize()",
        "deployq.Runtime.name",
        "hook deployq_choose_backend",
        "deployq.testing.check_runtime",
        "deployq.proc.run",
        "deployq.tools.find_tool",
    ):
        assert name in now
    assert {name.split(".")[1] for name in now if name.startswith("deployq.")} >= set(
        vars(deployq)["__all__"]
    )
    assert not [line for line in now.values() if " at 0x" in line or str(Path.home()) in line]


def test_every_hook_and_name_says_what_it_is() -> None:
    specs = [s for name, s in vars(hookspecs).items() if name.startswith("deployq_")]
    assert len(specs) >= 17
    for spec in specs:
        assert spec.__doc__, spec.__name__
    for name in vars(deployq)["__all__"]:
        value = getattr(deployq, name)
        if isinstance(value, type) and name != "Message":
            assert value.__doc__, name
            assert not value.__doc__.startswith(f"{name}("), f"{name} has no docstring of its own"
