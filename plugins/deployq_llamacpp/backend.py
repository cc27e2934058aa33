"""The backend `llamacpp`: llama-quantize in a child process, one run per job."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deployq import (
    BackendError,
    DeployqError,
    DiskError,
    Health,
    Progress,
    QuantizeJob,
    ToolMissing,
    proc,
)
from deployq.ggml import GGUF_ALIGNMENT
from deployq.llama_output import last_words
from deployq.tools import Tool, require_tool
from deployq_llamacpp.header import read_metadata
from deployq_llamacpp.judge import LlamaCppJudge
from deployq_llamacpp.output import parse_count, parse_types

TOOL = "llama-quantize"
ALIGNED = f"general.alignment=int:{GGUF_ALIGNMENT}"
# what the tool says -> what to do about it
_HINTS = (
    ("requantizing from type", "start from a full-precision GGUF, or add --allow-requantize"),
    ("importance matrix", "choose a quant that needs no importance matrix, such as Q3_K_M"),
    ("invalid ftype", "deployq doctor"),
    ("failed to load model", "check that the source is a whole GGUF file"),
)
# The tool reports a full disk, a missing folder and a read-only one in the same words.
_WRITE_FAILED = "iostream error"
_PROBE_BYTES = 8 << 20


class LlamaCppBackend:
    """Quantizes with `llama-quantize`; the output is the same for any number of threads."""

    name = "llamacpp"

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._env = env
        self._tool: Tool | None = None

    def health(self) -> Health:
        """Is llama-quantize here, and does it run?"""
        try:
            tool = self._require()
            if not parse_types(tool.help):
                said = last_words(tool.help) or "it printed nothing"
                return Health(
                    False,
                    path=tool.path,
                    detail=f"{tool.path} does not run: {said}",
                    hint="deployq tools install",
                )
        except BackendError as exc:
            return Health(False, detail=exc.message, hint=exc.hint)
        return tool.health()

    def quants(self) -> frozenset[str]:
        """The quants that this llama-quantize lists; none where there is no tool."""
        try:
            return parse_types(self._require().help)
        except ToolMissing:
            return frozenset()

    def quantize(self, jobs: Sequence[QuantizeJob], progress: Progress) -> None:
        """Carry out the jobs in their order; those that finished before a failure stay.

        Raises:
            ToolMissing: there is no llama-quantize.
            BackendError: the tool failed; its own last words are in the message.
            DiskError: the output could not be written.
        """
        tool = self._require()
        known = parse_types(tool.help)
        for job in jobs:
            if job.quant not in known:
                raise BackendError(
                    f"{tool.path} can't make {job.quant}; it makes: {', '.join(sorted(known))}",
                    hint="deployq doctor",
                )
            if not job.source.is_file():
                raise BackendError(f"{job.source}: there is no such file to quantize")
        for job in jobs:
            self._run(tool, job, progress)

    def _require(self) -> Tool:
        if self._tool is None or not self._tool.path.is_file():
            self._tool = require_tool(TOOL, self._env)
        return self._tool

    def _run(self, tool: Tool, job: QuantizeJob, progress: Progress) -> None:
        done = False
        try:
            finished = tool.run(
                _arguments(job),
                on_line=_watch(job, progress),
                cwd=job.imatrix.parent if job.imatrix else None,
            )
            if finished.returncode:
                raise self._failure(job, finished)
            _tell_done(job, finished.stdout, progress)
            done = True
        finally:
            if not done:
                job.output.unlink(missing_ok=True)

    def _failure(self, job: QuantizeJob, finished: proc.Finished) -> DeployqError:
        said = last_words(finished.stdout)
        if _WRITE_FAILED in said and (problem := _probe(job.output)) is not None:
            return _cannot_write(job, problem, LlamaCppJudge(self._env))
        how = proc.describe_failure(
            proc.Finished(finished.argv, finished.returncode, finished.stdout, said)
        )
        hint = next((hint for needle, hint in _HINTS if needle in said), "")
        return BackendError(f"could not make {job.quant} of {job.source}: {how}", hint=hint)


def _arguments(job: QuantizeJob) -> list[str | Path]:
    # absolute: a name that starts with a dash is no option
    files = [job.source.absolute(), job.output.absolute()]
    options = ["--allow-requantize"] if job.allow_requantize else []
    # by its name alone (the tool runs in its folder): the name goes into the output
    options += ["--imatrix", f"./{job.imatrix.name}"] if job.imatrix else []
    options += ["--override-kv", ALIGNED] if _aligned_otherwise(job.source) else []
    threads = [str(job.threads)] if job.threads else []
    return [*options, *files, job.quant, *threads]


def _aligned_otherwise(source: Path) -> bool:
    """Whether its tensors are aligned to other than 32 bytes.

    llama-quantize (b11434) pads to 32 whatever the source did, and keeps the source's key: a file
    that llama.cpp then calls corrupted.
    """
    try:
        values = read_metadata(source).values
    except (OSError, ValueError):
        return False
    return values.get("general.alignment", GGUF_ALIGNMENT) != GGUF_ALIGNMENT


def _watch(job: QuantizeJob, progress: Progress) -> Callable[[str], None]:
    def on_line(line: str) -> None:
        if count := parse_count(line):
            # a line is complete when its tensor is; the last one is told at the very end
            progress(job.quant, min(count[0], count[1] - 1), count[1], "tensors")

    return on_line


def _tell_done(job: QuantizeJob, printed: str, progress: Progress) -> None:
    counts = [count for line in printed.splitlines() if (count := parse_count(line))]
    total = counts[-1][1] if counts else 1
    progress(job.quant, total, total, "tensors")


def _probe(output: Path) -> OSError | None:
    """Why can't this file be written? The system says it, the tool does not."""
    try:
        with output.open("ab") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        return exc
    return None


def _cannot_write(job: QuantizeJob, problem: OSError, judge: LlamaCppJudge) -> DiskError:
    folder = job.output.parent
    if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
        return DiskError(
            f"cannot write {job.output}: {problem.strerror}", hint=f"check the folder {folder}"
        )
    size = judge.file_bytes(job.source, job.quant)
    needs = f": {job.quant} needs {size.file_bytes:,} bytes" if size else ""
    return DiskError(
        f"the disk of {folder} is full{needs}",
        hint="free some room, or set DEPLOYQ_CACHE_DIR to another disk",
    )
