"""The converter `llamacpp`: convert_hf_to_gguf.py in an interpreter of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deployq import (
    BackendError,
    ConvertJob,
    Failed,
    Health,
    Json,
    Progress,
    SourceCheck,
    ToolMissing,
)
from deployq.runners import Refused
from deployq.scripts import Place, find_script, script_version
from deployq_converters.environment import find_python, run, versions

NEEDED = ("torch", "transformers", "sentencepiece", "numpy")
_PACKAGES = (*NEEDED, "peft", "safetensors")
_MERGED = "merged"
REVISION = "r6"
"""Counts what of the runner changes its output: part of what an artifact is made from."""


class LlamaCppConverter:
    """Converts with llama.cpp's own script; adapters are merged with PEFT first."""

    name = "llamacpp"

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._env = env
        self._health: dict[tuple[str, str], Health] = {}

    def accepts(self, source: Path) -> bool:
        """A folder as `save_pretrained` leaves it: a model, or a LoRA adapter."""
        return any((source / name).is_file() for name in ("config.json", "adapter_config.json"))

    def health(self) -> Health:
        """Is there an interpreter with the packages, and a script?"""
        try:
            python, script = self._places()
            key = (str(python.path), str(script.path))
            if key not in self._health:
                self._health[key] = self._ask(python, script)
            return self._health[key]
        except ToolMissing as exc:
            return Health(False, detail=exc.message, hint=exc.hint)
        except BackendError as exc:
            return Health(False, detail=exc.message, hint="deployq tools install convert")

    def check(self, job: ConvertJob, texts: Sequence[str]) -> SourceCheck:
        """Architecture, tokenizer, pre-tokenizer and chat template, as the script sees them.

        What the script makes of the tokenizer is written to the job's output.
        """
        python, script = self._require()
        asked = _job("check", job, script) | {
            "source": str(_tokenizer_folder(job)),
            "texts": list(texts),
        }
        try:
            said = run(python.path, asked).last("tokens")
        except Refused as exc:
            return SourceCheck((Failed(exc.check or "tokenizer", exc.message, exc.hint),))
        assert said is not None, "a job that is done said so"
        return SourceCheck(token_ids=tuple(map(tuple, said["ids"])))

    def convert(self, job: ConvertJob, progress: Progress) -> Sequence[str]:
        """Write the job's GGUF; an adapter is merged into its base first.

        Raises:
            ToolMissing: there is no interpreter or no script.
            SourceError: the source is at fault.
            BackendError: the script failed; its last words are in the message.
        """
        python, script = self._require()
        notes: list[str] = []
        source = job.source
        done = False
        try:
            if job.base is not None and job.mode != "adapter":
                source, notes = self._merge(python, job, progress)
            what = "adapter" if job.mode == "adapter" else "convert"
            run(
                python.path,
                {**_job(what, job, script), "source": str(source)},
                _watch(f"convert {job.name or job.source.name}", progress),
            )
            done = True
        finally:
            if not done:
                job.output.unlink(missing_ok=True)
        return notes

    def _merge(self, python: Place, job: ConvertJob, progress: Progress) -> tuple[Path, list[str]]:
        # the script takes names for the header from the folder's own
        merged = job.scratch / (job.name or _MERGED)
        events = run(
            python.path,
            {
                "job": "merge",
                "source": str(job.source),
                "base": str(job.base),
                "output": str(merged),
                "allow": sorted(job.allow),
            },
            _watch(f"merge {job.name or job.source.name}", progress),
        )
        return merged, [str(values["text"]) for name, values in events.seen if name == "note"]

    def _places(self) -> tuple[Place, Place]:
        python = find_python(self._env)
        return python, find_script(python.path, self._env)

    def _require(self) -> tuple[Place, Place]:
        health = self.health()
        if not health.ok:
            raise ToolMissing(f"converter {self.name}: {health.detail}", hint=health.hint)
        return self._places()

    def _ask(self, python: Place, script: Place) -> Health:
        found = versions(python.path, _PACKAGES)
        if missing := [name for name in NEEDED if not found.get(name)]:
            return Health(
                False,
                path=python.path,
                detail=f"{python.path} ({python.origin}) lacks {', '.join(missing)}",
                hint=f"{python.path} -m pip install {' '.join(missing)}, "
                "or deployq tools install convert",
            )
        return Health(
            True,
            version=f"{script_version(script, self._env)}"
            f"+transformers-{found['transformers']}+{REVISION}",
            path=script.path,
            detail=f"from {script.origin}; torch {found['torch']}, "
            f"peft {found.get('peft') or 'missing (adapters need it)'} in {python.path}",
        )


def _job(what: str, job: ConvertJob, script: Place) -> dict[str, Json]:
    return {
        "job": what,
        "script": str(script.path),
        "source": str(job.source),
        "base": str(job.base) if job.base else None,
        "output": str(job.output),
        "dtype": job.dtype,
        "name": job.name,
        "mode": job.mode,
        "pre_tokenizer": job.pre_tokenizer,
        "allow": sorted(job.allow),
    }


def _tokenizer_folder(job: ConvertJob) -> Path:
    """An adapter brings its own tokenizer where tokens were added; else its base's counts."""
    own = (job.source / "tokenizer_config.json").is_file()
    return job.source if own or job.base is None else job.base


def _watch(task: str, progress: Progress) -> Callable[[str, Mapping[str, Any]], None]:
    progress(task, 0, None, "bytes")

    def on_event(event: str, values: Mapping[str, Any]) -> None:
        if event in ("written", "merged"):
            unit = "bytes" if event == "written" else "tensors"
            progress(task, values["done" if event == "merged" else "bytes"], values["total"], unit)

    return on_event
