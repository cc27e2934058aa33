"""The backend `unsloth`: the user's own Unsloth, in its own environment, in a child process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deployq import (
    BackendError,
    ConvertJob,
    DiskError,
    Health,
    Json,
    ModelInfo,
    Progress,
    QuantizeJob,
    SourceError,
    ToolMissing,
    inspect,
)
from deployq.runners import Refused, run_job
from deployq.scripts import Place, find_script, script_version
from deployq.tools import require_tool
from deployq_unsloth.environment import find_python

MODE = "DEPLOYQ_UNSLOTH_MODE"
RUNS_ON_CPU_SINCE = "2026.10.9"
_UNQUANTIZED = frozenset({"F32", "F16", "BF16"})
QUANTS = _UNQUANTIZED | {
    "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0",
    "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K",
}  # fmt: skip
"""What every Unsloth exports without an importance matrix; of an unknown one it fails late."""

REVISION = "r1"
"""Counts what of the runner changes its output: part of what an artifact is made from."""

_RUNNER = Path(__file__).parent
_NEEDED = ("unsloth", "unsloth_zoo", "torch", "transformers", "peft", "safetensors")
_SPACE = 3  # the merged weights unrounded (twice the 16 bits), and the GGUF that quants are made of
_LEAVE_IT = "leave --backend unsloth out: deployq merges adapters with PEFT as well"


class UnslothBackend:
    """Merges adapters with Unsloth; in the mode `gguf` its own export makes the quants too."""

    name = "unsloth"

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._env = env
        self._asked: dict[Path, Mapping[str, Any]] = {}

    @property
    def exports(self) -> bool:
        """Whether the mode is `gguf`: else Unsloth merges, and other backends quantize."""
        return self._env.get(MODE, "").strip() == "gguf"

    def health(self) -> Health:
        """Is there an environment with Unsloth that runs on this machine?"""
        try:
            python = find_python(self._env)
            return self._health(python)
        except ToolMissing as exc:
            return Health(False, detail=exc.message, hint=exc.hint)
        except (BackendError, SourceError) as exc:
            hint = "set python under [backends.unsloth] in deployq.toml"
            return Health(False, detail=exc.message, hint=hint)

    def quants(self) -> frozenset[str]:
        """What it makes itself: nothing in the mode `merged`, where it leaves that to others."""
        return QUANTS if self.exports else frozenset()

    def merge(self, job: ConvertJob, progress: Progress) -> Sequence[str]:
        """Merge an adapter into its base, in 16 bits, into the folder `output`.

        Raises:
            ToolMissing: there is no usable Unsloth.
            SourceError: Unsloth does not take it, or what it merged is not base + adapter.
            BackendError: Unsloth failed; its last words are in the message.
        """
        python = self._require()
        task = f"merge {job.name or job.source.name}"
        progress(task, 0, None, "tensors")
        asked: dict[str, Json] = {
            "job": "merge",
            "source": str(job.source),
            "base": str(job.base),
            "output": str(job.output),
            "allow": sorted(job.allow),
        }
        events = run_job(python.path, _RUNNER, asked, below=job.scratch)
        progress(task, 1, 1, "tensors")
        return [str(values["text"]) for name, values in events.seen if name == "note"]

    def quantize(self, jobs: Sequence[QuantizeJob], progress: Progress) -> None:
        """Have Unsloth export all the jobs' quants in one call, from what the source is made of.

        Raises:
            ToolMissing: there is no usable Unsloth, or no llama-quantize for it.
            DiskError: it needs more room than there is.
            BackendError: it failed, or wrote something else; no file is left.
        """
        if not jobs:
            return
        for job in jobs:
            _require_able(job)
        python = self._require()
        _require_room(jobs[0])
        try:
            self._export(python, jobs, progress)
            for job in jobs:
                _require_written(job)
                progress(job.quant, 1, 1, "files")
        except BaseException:
            for job in jobs:
                job.output.unlink(missing_ok=True)
            raise

    def _export(self, python: Place, jobs: Sequence[QuantizeJob], progress: Progress) -> None:
        made_from = jobs[0].made_from
        assert made_from is not None, "a job without was refused"
        asked: dict[str, Json] = {
            "job": "export",
            "source": str(made_from.folder),
            "base": str(made_from.base) if made_from.base else None,
            "name": made_from.name,
            "allow": sorted(made_from.allow),
            "quantizer": str(require_tool("llama-quantize", self._env).path.resolve()),
            "script": str(find_script(python.path, self._env).path),
            "outputs": {job.quant: str(job.output.absolute()) for job in jobs},
        }
        for job in jobs:
            progress(job.quant, 0, None, "files")
        try:
            run_job(python.path, _RUNNER, asked, below=jobs[0].output.parent)
        except Refused as exc:
            raise BackendError(exc.message, hint=exc.hint) from exc

    def _health(self, python: Place) -> Health:
        said = self._ask(python.path)
        versions = said["versions"]
        if missing := [name for name in _NEEDED if not versions.get(name)]:
            return Health(
                False,
                path=python.path,
                detail=f"{python.path} ({python.origin}) lacks {', '.join(missing)}",
                hint="set python under [backends.unsloth] in deployq.toml: that of your training",
            )
        if said["accelerated"] is False:
            return Health(
                False,
                path=python.path,
                detail=f"Unsloth {versions['unsloth']} in {python.path} needs a GPU, and PyTorch "
                "finds none here",
                hint=f"{python.path} -m pip install --upgrade unsloth unsloth_zoo (from "
                f"{RUNS_ON_CPU_SINCE} on it runs without one), or {_LEAVE_IT}",
            )
        version = f"{versions['unsloth']}+zoo-{versions['unsloth_zoo']}"
        detail = f"{python.origin}; torch {versions['torch']}, mode {self._mode()}"
        if self.exports:
            tool = require_tool("llama-quantize", self._env)
            script = find_script(python.path, self._env)
            version += f"+{tool.version}+{script_version(script, self._env)}"
        return Health(True, version=f"{version}+{REVISION}", path=python.path, detail=detail)

    def _mode(self) -> str:
        return "gguf (its own export)" if self.exports else "merged (others quantize)"

    def _ask(self, python: Path) -> Mapping[str, Any]:
        if python not in self._asked:
            asked: dict[str, Json] = {"job": "versions", "runs_on_cpu_since": RUNS_ON_CPU_SINCE}
            said = run_job(python, _RUNNER, asked).last("versions")
            assert said is not None, "a job that is done said so"
            self._asked[python] = said
        return self._asked[python]

    def _require(self) -> Place:
        health = self.health()
        if not health.ok:
            raise ToolMissing(f"backend {self.name}: {health.detail}", hint=health.hint)
        return find_python(self._env)


def _require_able(job: QuantizeJob) -> None:
    if job.quant not in QUANTS:
        raise BackendError(
            f"Unsloth's export can't make {job.quant}; it makes: {', '.join(sorted(QUANTS))}",
            hint='mode = "merged" under [backends.unsloth]: llama.cpp quantizes then',
        )
    if job.imatrix is not None:
        raise BackendError(
            f"Unsloth's export of {job.quant} takes no importance matrix",
            hint='mode = "merged" under [backends.unsloth]: llama.cpp quantizes then',
        )
    if job.made_from is None:
        raise BackendError(
            f"{job.source}: Unsloth exports the folder that a training left, and this is a GGUF",
            hint="give that folder as the source, or leave --backend unsloth out",
        )


def _require_room(job: QuantizeJob) -> None:
    needed = _SPACE * job.source.stat().st_size
    free = shutil.disk_usage(job.output.parent).free
    if needed > free:
        raise DiskError(
            f"Unsloth's export needs about {needed / 1e9:.1f} GB in {job.output.parent} on the "
            f"way, {free / 1e9:.1f} GB are free",
            hint='mode = "merged" under [backends.unsloth] needs less; or free some room there',
        )


def _require_written(job: QuantizeJob) -> None:
    """Is it the type that was asked for, and split into tokens as what it was made from?

    Raises:
        BackendError: it is not.
    """
    made, source = inspect(job.output), inspect(job.source)
    types = {tensor.type for tensor in made.tensors}
    if made.quantized != (job.quant not in _UNQUANTIZED):
        raise BackendError(f"Unsloth wrote {', '.join(sorted(types))} instead of {job.quant}")
    theirs, ours = _vocabulary(made), _vocabulary(source)
    if differing := sorted(k for k in theirs.keys() | ours.keys() if theirs.get(k) != ours.get(k)):
        key = differing[0]
        raise BackendError(
            f"Unsloth's {job.quant} has another tokenizer than what it was trained with: {key} is "
            f"{theirs.get(key, 'missing')!r} instead of {ours.get(key, 'missing')!r}",
            hint='mode = "merged" under [backends.unsloth]',
        )


_TOLD_OTHERWISE = ("tokenizer.ggml.padding_token_id", "tokenizer.chat_template")


def _vocabulary(info: ModelInfo) -> dict[str, object]:
    found = {**info.metadata, **info.array_lengths}
    return {
        key: value
        for key, value in found.items()
        if key.startswith("tokenizer.") and key not in _TOLD_OTHERWISE
    }
