"""The contract of `deployq.Backend`, as checks for its author's own tests."""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Callable
from pathlib import Path

from deployq.errors import BackendError
from deployq.testing.calls import at_once
from deployq.testing.must import must as _must
from deployq.types import Backend, QuantizeJob, no_progress

_QUANT_NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
_SMALLEST_GGUF_BYTES = 24


def check_backend(backend: Backend, source: Path, tmp_path: Path, quant: str | None = None) -> None:
    """Hold a backend against the contract of `deployq.Backend`.

    Args:
        backend: usable on this machine.
        source: a small full-precision GGUF, in one file.
        tmp_path: an empty folder to write in.
        quant: what to make; default the first of the backend's quants by name.

    Raises:
        AssertionError: it breaks the contract; the message says how.
    """
    check_backend_health(backend)
    quants = sorted(backend.quants())
    quant = quant or quants[0]
    _must(quant in quants, f"{quant} is not one of its quants: {', '.join(quants)}")
    check_backend_output(backend, source, tmp_path / "plain", quant)
    check_backend_odd_paths(backend, source, tmp_path / "odd", quant)
    check_backend_cancellation(backend, source, tmp_path / "cancelled", quant)
    check_backend_concurrency(backend, source, tmp_path / "at-once", quant)
    check_backend_errors(backend, source, tmp_path / "errors", quant)


def check_backend_health(backend: Backend) -> None:
    """Its name, its health and its list of quants make sense."""
    _must(isinstance(backend, Backend), f"{backend!r} lacks a part of deployq.Backend")
    _must(bool(backend.name), "its name is empty")
    health = backend.health()
    _must(health.ok, f"{backend.name} says that it is not usable here: {health.detail}")
    _must(bool(health.version), "its health has no version: artifacts are named by it")
    again = backend.health().version
    _must(again == health.version, f"its version changes: {health.version!r}, then {again!r}")
    quants = backend.quants()
    _must(bool(quants), "it makes no quants")
    for name in quants:
        _must(bool(_QUANT_NAME.fullmatch(name)), f"{name!r} is not how llama.cpp writes a quant")


def check_backend_output(backend: Backend, source: Path, folder: Path, quant: str) -> None:
    """One job gives one GGUF file with the source's tensor count, and progress to the end."""
    folder.mkdir()
    before = source.read_bytes()
    calls: list[tuple[str, float, float | None, str]] = []
    output = folder / "model.gguf"

    def record(task: str, done: float, total: float | None, unit: str) -> None:
        calls.append((task, done, total, unit))

    backend.quantize([QuantizeJob(source, quant, output, threads=1)], record)
    _must(output.is_file(), f"{backend.name} wrote no file")
    _must(_tensor_count(output) == _tensor_count(source), "the output has other tensors")
    _must(_files(folder) == [output], f"it left more than its output: {_files(folder)}")
    _must(source.read_bytes() == before, "it changed its source")
    _must(bool(calls), "it never called progress")
    _must(all(call[0] == quant for call in calls), "progress is told of other tasks")
    _must(calls[-1][1] == calls[-1][2], f"its last progress is not the end: {calls[-1]}")
    steps = [call[1] for call in calls]
    _must(steps == sorted(steps), "its progress goes backwards")
    twice = folder / "twice.gguf"
    backend.quantize([QuantizeJob(source, quant, twice, threads=2)], no_progress)
    _must(twice.read_bytes() == output.read_bytes(), "the same job gives another file")


def check_backend_odd_paths(backend: Backend, source: Path, folder: Path, quant: str) -> None:
    """Blanks, quotes, a leading dash and letters beyond ASCII in a path are no trouble."""
    odd = folder / "a b" / "-é ü '模型'"
    odd.mkdir(parents=True)
    copy, output = odd / "-source model.gguf", odd / "-o ü.gguf"
    copy.write_bytes(source.read_bytes())
    backend.quantize([QuantizeJob(copy, quant, output)], no_progress)
    _must(output.is_file(), f"{backend.name} wrote no file at {output}")


def check_backend_cancellation(backend: Backend, source: Path, folder: Path, quant: str) -> None:
    """An exception out of progress (Ctrl-C) goes through, and no file is left."""
    folder.mkdir()
    output = folder / "model.gguf"

    def interrupt(*_call: object, **_named: object) -> None:
        raise KeyboardInterrupt

    try:
        backend.quantize([QuantizeJob(source, quant, output)], interrupt)
    except KeyboardInterrupt:
        _must(not _files(folder), f"interrupted, it left {_files(folder)}")
    else:
        raise AssertionError(f"{backend.name} went on although progress raised KeyboardInterrupt")


def check_backend_concurrency(backend: Backend, source: Path, folder: Path, quant: str) -> None:
    """Two jobs at once, in two threads, give the file that one gives alone."""
    folder.mkdir()
    alone, *outputs = (folder / f"{name}.gguf" for name in ("alone", "one", "two"))

    def run(output: Path) -> None:
        backend.quantize([QuantizeJob(source, quant, output, threads=1)], no_progress)

    run(alone)
    at_once([functools.partial(run, output) for output in outputs])
    _must(_files(folder) == [alone, *outputs], f"two jobs at once left {_files(folder)}")
    for output in outputs:
        same = output.read_bytes() == alone.read_bytes()
        _must(same, "two jobs at once give another file than one alone")


def check_backend_errors(backend: Backend, source: Path, folder: Path, quant: str) -> None:
    """What can't be done is a `BackendError` that names its object, and leaves no file."""
    folder.mkdir()
    output = folder / "model.gguf"
    nothing, rubbish = folder.parent / "nothing.gguf", folder.parent / "rubbish.gguf"
    rubbish.write_bytes(b"this is no GGUF file" * 100)
    cut = folder.parent / "cut.gguf"
    content = source.read_bytes()
    cut.write_bytes(content[: len(content) // 2])

    def run(job: QuantizeJob) -> Callable[[], None]:
        return lambda: backend.quantize([job], no_progress)

    for what, names, attempt in (
        ("an unknown quant", "Q99_X", run(QuantizeJob(source, "Q99_X", output))),
        ("a missing source", "nothing.gguf", run(QuantizeJob(nothing, quant, output))),
        ("a source that is no GGUF", "rubbish.gguf", run(QuantizeJob(rubbish, quant, output))),
        ("a source that is cut", "cut.gguf", run(QuantizeJob(cut, quant, output))),
    ):
        _must_refuse(what, names, attempt)
        _must(not _files(folder), f"after {what} it left {_files(folder)}")


def _must_refuse(what: str, names: str, attempt: Callable[[], None]) -> None:
    try:
        attempt()
    except BackendError as exc:
        _must(names in exc.message, f"its error for {what} does not name {names}: {exc.message}")
    except Exception as exc:
        raise AssertionError(
            f"for {what} it raises {type(exc).__name__}, no deployq.BackendError: {exc}"
        ) from exc
    else:
        raise AssertionError(f"it took {what} without an error")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _tensor_count(path: Path) -> int:
    with path.open("rb") as file:
        start = file.read(_SMALLEST_GGUF_BYTES)
    _must(len(start) == _SMALLEST_GGUF_BYTES and start[:4] == b"GGUF", f"{path} is no GGUF file")
    count: int = struct.unpack_from("<Q", start, 8)[0]
    return count
