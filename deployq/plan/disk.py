"""What a push needs on disk, on each file system, before it starts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import NamedTuple

from deployq.errors import DiskError
from deployq.records import dataclass
from deployq.types import DiskPlan, DiskStep, FileSystem, QuantSize
from deployq.units import format_bytes

ARTIFACTS = "artifacts"


@dataclass(frozen=True)
class Place:
    """A folder that a push writes to: `device` tells its file system from others."""

    free_bytes: int
    path: Path = field(default_factory=Path)
    device: int = 0


@dataclass(frozen=True)
class ServerStore:
    """Where one server keeps its models; `place` None: on another machine.

    `links`: finished artifacts are linked into it, which takes no room.
    """

    name: str
    place: Place | None
    links: bool = False


class _Step(NamedTuple):
    """Bytes that are written, and to which file system."""

    what: str
    n_bytes: int
    where: str
    place: Place | None


def disk_plan(
    builds: Mapping[ServerStore, Sequence[QuantSize]],
    artifacts: Place,
    cached: Collection[str] = (),
    conversions: Sequence[tuple[str, int]] = (),
) -> DiskPlan:
    """The bytes that each step leaves on disk, and what that comes to per file system.

    Args:
        builds: the quants that go to each server, with their exact sizes.
        artifacts: where artifacts go.
        cached: quants whose artifact is there already.
        conversions: what is written before anything is quantized, with its bytes.
    """
    first = [_Step(what, n_bytes, ARTIFACTS, artifacts) for what, n_bytes in conversions]
    steps = [*first, *_artifacts(builds, artifacts, cached), *_copies(builds)]
    systems = _file_systems(steps)
    return DiskPlan(
        needed_bytes=sum(system.needed_bytes for system in systems),
        free_bytes=artifacts.free_bytes,
        steps=tuple(DiskStep(step.what, step.n_bytes, step.where) for step in steps),
        filesystems=systems,
    )


def require_room(disk: DiskPlan) -> None:
    """Make sure that a push does not run into a full disk.

    Raises:
        DiskError: a file system has too little room.
    """
    short = [system for system in disk.filesystems if system.needed_bytes > system.free_bytes]
    if short:
        raise DiskError(
            "; ".join(shortage(system) for system in short),
            hint="free some space, name fewer --quants, or move `cache` in deployq.toml",
        )


def shortage(system: FileSystem) -> str:
    """What is missing on a file system, in words."""
    missing = format_bytes(system.needed_bytes - system.free_bytes)
    return (
        f"disk: {system.name} ({system.path}) need up to {format_bytes(system.needed_bytes)}, "
        f"{format_bytes(system.free_bytes)} are free: {missing} too little"
    )


def _artifacts(
    builds: Mapping[ServerStore, Sequence[QuantSize]], place: Place, cached: Collection[str]
) -> Iterator[_Step]:
    distinct = {size.quant: size for sizes in builds.values() for size in sizes}
    for size in distinct.values():
        if size.quant not in cached:
            yield _Step(f"artifact {size.quant}", size.file_bytes, ARTIFACTS, place)


def _copies(builds: Mapping[ServerStore, Sequence[QuantSize]]) -> Iterator[_Step]:
    for store, sizes in builds.items():
        for size in sizes:
            if store.links:
                yield _Step(f"{size.quant} linked into {store.name}", 0, store.name, store.place)
            else:
                what = f"copy of {size.quant} in {store.name}"
                yield _Step(what, size.file_bytes, store.name, store.place)


def _file_systems(steps: Sequence[_Step]) -> tuple[FileSystem, ...]:
    """This machine's, each with all that is written to it."""
    devices: dict[int, list[_Step]] = {}
    for step in steps:
        if step.place is not None:
            devices.setdefault(step.place.device, []).append(step)
    return tuple(_file_system(written) for written in devices.values())


def _file_system(steps: Sequence[_Step]) -> FileSystem:
    place = steps[0].place
    assert place is not None, "only steps on this machine are grouped"
    return FileSystem(
        name=" and ".join(dict.fromkeys(step.where for step in steps)),
        path=place.path,
        needed_bytes=sum(step.n_bytes for step in steps),
        free_bytes=place.free_bytes,
    )
