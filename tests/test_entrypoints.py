"""Entry points read by deployq beside what importlib.metadata makes of the same folders."""

from __future__ import annotations

import importlib.metadata
import os
import zipfile
from pathlib import Path

import pytest

from deployq.entrypoints import EntryPoint, entry_points


def distribution(folder: Path, name: str, entries: str, *, info: str = "") -> None:
    """What an installer leaves of a distribution, without its modules."""
    place = folder / (info or f"{name.replace('-', '_')}-1.2.dist-info")
    place.mkdir(parents=True)
    headers = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n\nName: not this\n"
    (place / ("PKG-INFO" if "egg" in info else "METADATA")).write_text(headers)
    if entries:
        (place / "entry_points.txt").write_text(entries)


def by_the_library(group: str) -> set[EntryPoint]:
    found = importlib.metadata.entry_points(group=group)
    named = ((entry, entry.dist) for entry in found)
    return {EntryPoint(e.name, e.value, d.metadata["Name"], d.version) for e, d in named if d}


@pytest.mark.parametrize("group", sorted(importlib.metadata.entry_points().groups))
def test_what_is_installed_here_is_read_as_the_library_reads_it(group: str) -> None:
    assert set(entry_points(group)) == by_the_library(group)


def test_odd_files_are_read_as_the_library_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    odd = "\n# a comment\n[other]\na = no\n\n[q.test]\n a=mod \n# b = no\nc.d = m.n : o.p [extra]\n"
    distribution(first, "Odd-Name", odd)
    distribution(first, "twice", "[q.test]\ntwice = first\n")
    distribution(second, "twice", "[q.test]\ntwice = second\n")
    distribution(first, "hidden", "")
    distribution(second, "hidden", "[q.test]\nhidden = second\n")
    distribution(second, "old", "[q.test]\nold = old:run\n", info="old.egg-info")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("packed-3.dist-info/METADATA", "Name: packed\nVersion: 3\n")
        archive.writestr("packed-3.dist-info/entry_points.txt", "[q.test]\npacked = packed\n")
    monkeypatch.setattr(
        "sys.path", [str(first), str(second), str(tmp_path / "packed.zip"), str(tmp_path / "none")]
    )
    found = set(entry_points("q.test"))
    assert found == by_the_library("q.test")
    assert {entry.value for entry in found} == {
        "mod", "m.n : o.p [extra]", "first", "old:run", "packed",
    }  # fmt: skip
    assert {entry.distribution for entry in found} == {"Odd-Name", "twice", "old", "packed"}


@pytest.mark.parametrize(
    ("value", "module"),
    [("os.path", "os.path"), ("os : path.join", "os"), ("os:path.join [extra]", "os")],
)
def test_what_is_named_is_imported(value: str, module: str) -> None:
    entry = EntryPoint("name", value)
    assert entry.module == module
    assert entry.load() is (os.path.join if "join" in value else os.path)
