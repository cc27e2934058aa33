"""The conformance check of backends finds each fault, and passes what is good."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from deployq_llamacpp import LlamaCppBackend

from deployq import BackendError, DeployqError, Health, Progress, QuantizeJob, inspect
from deployq.testing import check_backend
from tests.tiny import write_tiny_llama


class Copier:
    """A quantizer whose one quant is the file as it is."""

    name = "copier"

    def health(self) -> Health:
        return Health(True, version="1")

    def quants(self) -> frozenset[str]:
        return frozenset({"F16"})

    def quantize(self, jobs: Sequence[QuantizeJob], progress: Progress) -> None:
        for job in jobs:
            if job.quant not in self.quants():
                raise BackendError(f"there is no quant {job.quant}")
            try:
                inspect(job.source)
            except DeployqError as exc:
                raise BackendError(exc.message) from exc
            try:
                progress(job.quant, 0, 1, "files")
                self.write(job)
                progress(job.quant, 1, 1, "files")
            except BaseException:
                job.output.unlink(missing_ok=True)
                raise

    def write(self, job: QuantizeJob) -> None:
        shutil.copyfile(job.source, job.output)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("source") / "tiny.gguf")


def test_a_good_one_passes(tiny: Path, tmp_path: Path) -> None:
    check_backend(Copier(), tiny, tmp_path)


@pytest.mark.tools
def test_llama_cpp_s_keeps_it(tiny: Path, tmp_path: Path, tools_bin: Path) -> None:
    env = {"DEPLOYQ_LLAMA_CPP": str(tools_bin), "DEPLOYQ_CACHE_DIR": str(tmp_path / "cache")}
    check_backend(LlamaCppBackend(env), tiny, tmp_path, "Q4_K_M")


# ---------------------------------------------------------------- faults


class Writes(Copier):
    """One that writes in another way."""

    def __init__(self, write: Callable[[QuantizeJob], object]) -> None:
        self._write = write

    def write(self, job: QuantizeJob) -> None:
        self._write(job)


class Quantizes(Copier):
    """One that goes about a job in another way."""

    def __init__(self, go: Callable[[Copier, QuantizeJob, Progress], None]) -> None:
        self._go = go

    def quantize(self, jobs: Sequence[QuantizeJob], progress: Progress) -> None:
        for job in jobs:
            self._go(Copier(), job, progress)


def with_(**changes: Any) -> Copier:
    return type("Changed", (Copier,), changes)()  # type: ignore[no-any-return]


def leaves_more(job: QuantizeJob) -> None:
    shutil.copyfile(job.source, job.output)
    job.output.with_suffix(".log").write_text("done")


def changes_source(job: QuantizeJob) -> None:
    shutil.copyfile(job.source, job.output)
    with job.source.open("ab") as file:
        file.write(b"read")


_numbers: Iterator[int] = itertools.count()


def moody(job: QuantizeJob) -> None:
    job.output.write_bytes(job.source.read_bytes() + str(next(_numbers)).encode())


def through_a_shell(job: QuantizeJob) -> None:
    os.system(f"cp {job.source} {job.output}")


def of_one_folder(job: QuantizeJob) -> None:
    """Through one file that all of its jobs share."""
    shared = Path(os.environ["COPIER_SHARED"])
    shared.write_bytes(b"")
    with shared.open("ab") as file:
        file.write(job.source.read_bytes()[:64])
        time.sleep(0.2)
        file.write(job.source.read_bytes()[64:])
        file.flush()
        time.sleep(0.2)
    shutil.copyfile(shared, job.output)


def silent(copier: Copier, job: QuantizeJob, progress: Progress) -> None:  # noqa: ARG001
    copier.quantize([job], lambda *_: None)


def half_told(copier: Copier, job: QuantizeJob, progress: Progress) -> None:
    copier.quantize([job], lambda task, done, total, unit: progress(task, done / 2, total, unit))


def other_task(copier: Copier, job: QuantizeJob, progress: Progress) -> None:
    copier.quantize([job], lambda _, done, total, unit: progress("work", done, total, unit))


def backwards(copier: Copier, job: QuantizeJob, progress: Progress) -> None:
    progress(job.quant, 1, 1, "files")
    copier.quantize([job], progress)


def deaf(copier: Copier, job: QuantizeJob, progress: Progress) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        progress(job.quant, 1, 1, "files")
    silent(copier, job, progress)


def untidy(copier: Copier, job: QuantizeJob, progress: Progress) -> None:
    job.output.write_bytes(b"GGUF")
    progress(job.quant, 0, 1, "files")
    copier.quantize([job], progress)


def any_quant(copier: Copier, job: QuantizeJob, progress: Progress) -> None:
    copier.quantize([QuantizeJob(job.source, "F16", job.output)], progress)


def any_file(copier: Copier, job: QuantizeJob, progress: Progress) -> None:
    if job.quant == "F16" and job.source.exists():
        progress(job.quant, 1, 1, "files")
        shutil.copyfile(job.source, job.output)
    else:
        copier.quantize([job], progress)


def unmapped(copier: Copier, job: QuantizeJob, progress: Progress) -> None:
    job.source.open("rb").close()
    copier.quantize([job], progress)


def wordless(copier: Copier, job: QuantizeJob, progress: Progress) -> None:
    try:
        copier.quantize([job], progress)
    except BackendError:
        raise BackendError("it failed") from None


FAULTS: dict[str, tuple[Any, str]] = {
    "nothing of a backend": (object(), "lacks a part"),
    "no name": (with_(name=""), "its name is empty"),
    "not usable": (with_(health=lambda _: Health(False, detail="no GPU")), "no GPU"),
    "no version": (with_(health=lambda _: Health(True)), "has no version"),
    "a new version each time": (
        with_(health=lambda _: Health(True, version=str(next(_numbers)))),
        "its version changes",
    ),
    "no quants": (with_(quants=lambda _: frozenset()), "it makes no quants"),
    "a quant of its own spelling": (with_(quants=lambda _: frozenset({"f16"})), "'f16'"),
    "writes nothing": (Writes(lambda _: None), "wrote no file"),
    "writes no GGUF": (Writes(lambda job: job.output.write_text("x" * 99)), "is no GGUF file"),
    "leaves more": (Writes(leaves_more), "left more than its output"),
    "changes its source": (Writes(changes_source), "changed its source"),
    "another file each time": (Writes(moody), "the same job gives another file"),
    "goes through a shell": (Writes(through_a_shell), "wrote no file at"),
    "one folder for all": (Writes(of_one_folder), "another file than one alone"),
    "no progress": (Quantizes(silent), "never called progress"),
    "progress ends early": (Quantizes(half_told), "not the end"),
    "progress of another": (Quantizes(other_task), "told of other tasks"),
    "progress goes backwards": (Quantizes(backwards), "goes backwards"),
    "takes no Ctrl-C": (Quantizes(deaf), "went on although"),
    "leaves half a file": (Quantizes(untidy), "interrupted, it left"),
    "takes any quant": (Quantizes(any_quant), "took an unknown quant"),
    "takes any file": (Quantizes(any_file), "took a source that is no GGUF"),
    "raises what Python raises": (
        Quantizes(unmapped),
        "FileNotFoundError, no deployq",
    ),
    "names nothing": (Quantizes(wordless), "does not name"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(
    fault: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, message = FAULTS[fault]
    monkeypatch.setenv("COPIER_SHARED", str(tmp_path / "shared"))
    source = tmp_path / "tiny.gguf"
    shutil.copyfile(tiny, source)
    (tmp_path / "work").mkdir()
    with pytest.raises(AssertionError, match=message):
        check_backend(backend, source, tmp_path / "work")


def test_a_quant_that_it_does_not_make(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="Q4_0 is not one of its quants: F16"):
        check_backend(Copier(), tiny, tmp_path, "Q4_0")
