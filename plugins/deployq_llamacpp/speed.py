"""The meter `speed`: llama-bench for tokens per second, llama-server for loading and memory.

Speeds are llama-bench's, as in published tables: a prompt of so many tokens into an empty context
(pp), an answer of so many after it (tg), each run after a warm-up. The files take turns, there
and back, so that whatever else happens on the machine meanwhile falls on all of them alike.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployq import (
    BackendError,
    Health,
    Measurement,
    Progress,
    Samples,
    SpeedOptions,
    Speeds,
    ToolMissing,
    proc,
)
from deployq.llama_output import last_words
from deployq.tools import Tool, require_tool, tool_health
from deployq_llamacpp import engine

TOOL, SERVER = "llama-bench", "llama-server"
UNIT = "tokens/s"


class _Taken:
    """What was measured of one file so far."""

    def __init__(self) -> None:
        self.prompt: list[float] = []
        self.generation: list[float] = []
        self.loads: list[float] = []
        self.memory_bytes: int | None = None
        self.device = ""


class Speed:
    """Tokens per second, load time and memory of files on this machine."""

    name = "speed"
    unit = UNIT

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._env = env

    def health(self) -> Health:
        """Are llama-bench and llama-server here?"""
        bench, server = tool_health(TOOL, self._env), tool_health(SERVER, self._env)
        return bench if server.ok or not bench.ok else server

    def measure(self, artifact: Path, text: Path, progress: Progress) -> Measurement:  # noqa: ARG002
        """Generation speed; no text is read for it.

        Raises:
            ToolMissing, BackendError: llama-bench is not here, or failed.
        """
        options, taken = SpeedOptions(), _Taken()
        for number in range(1, options.repeats + 1):
            _bench(self._require(), artifact, options, taken)
            progress(artifact.name, number, options.repeats, "runs")
        samples = Samples(tuple(taken.generation), UNIT)
        return Measurement(samples.median, UNIT, (samples.high - samples.low) / 2, taken.device)

    def speeds(
        self, artifacts: Mapping[str, Path], options: SpeedOptions, folder: Path, progress: Progress
    ) -> Mapping[str, Speeds]:
        """Every file, by name.

        Raises:
            ToolMissing, BackendError: a tool is not here, or failed.
        """
        tool = self._require()
        taken = {name: _Taken() for name in artifacts}
        total, done = options.repeats * len(artifacts), 0
        for turn in range(options.repeats):
            names = list(artifacts) if turn % 2 == 0 else list(artifacts)[::-1]
            for name in names:
                cold = self._load(artifacts[name], options, folder, taken[name])
                _bench(tool, artifacts[name], options, taken[name])
                done += 1
                progress("speed", done, total, "runs")
        by = f"{TOOL} and {SERVER} {tool.version}"
        return {name: _speeds(one, cold, by) for name, one in taken.items()}

    def _load(self, gguf: Path, options: SpeedOptions, folder: Path, taken: _Taken) -> bool:
        cold = forget_file(gguf)
        with engine.serving(gguf, options.n_ctx, folder, self._env, options.threads) as server:
            taken.loads.append(server.load_seconds)
            taken.memory_bytes = server.memory_bytes()
        return cold

    def _require(self) -> Tool:
        health = self.health()
        if not health.ok:
            raise ToolMissing(health.detail, hint=health.hint)
        return require_tool(TOOL, self._env)


def _speeds(taken: _Taken, cold: bool, by: str) -> Speeds:
    return Speeds(
        Samples(tuple(taken.prompt), UNIT),
        Samples(tuple(taken.generation), UNIT),
        Samples(tuple(taken.loads), "s"),
        taken.memory_bytes,
        cold,
        taken.device,
        by,
    )


def forget_file(path: Path) -> bool:
    """Ask the system to drop a file from its cache; False where it has no way to ask.

    Linux does it for pages that no one else maps: the next load is one from disk.
    """
    advise = getattr(os, "posix_fadvise", None)
    if advise is None:
        return False
    handle = os.open(path, os.O_RDONLY)
    try:
        advise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)
    return True


def _bench(tool: Tool, gguf: Path, options: SpeedOptions, taken: _Taken) -> None:
    argv: list[str | Path] = ["-m", gguf.absolute(), "-r", "1", "-o", "json"]
    argv += ["-p", str(options.prompt_tokens), "-n", str(options.generated_tokens)]
    argv += ["-t", str(options.threads)] if options.threads else []
    finished = tool.run(argv)
    if finished.returncode:
        raise BackendError(
            f"{TOOL} {proc.describe_exit(finished.returncode)} with {gguf.name}:\n"
            f"{last_words(finished.stdout)}"
        )
    for test in parse_bench(finished.stdout):
        speed = float(test["avg_ts"])
        (taken.generation if int(test["n_gen"]) else taken.prompt).append(speed)
        taken.device = str(test["backends"])


def parse_bench(text: str) -> list[Mapping[str, Any]]:
    """The tests in llama-bench's JSON, which stands among what the tool logs.

    Raises:
        BackendError: there are none, or they lack a figure.
    """
    start = 0
    while (start := text.find("[", start)) >= 0:
        try:
            tests, _ = json.JSONDecoder().raw_decode(text[start:])
        except ValueError:
            tests = None
        if isinstance(tests, list) and tests and all(map(_is_test, tests)):
            return tests
        start += 1
    raise BackendError(f"{TOOL} gave no figure:\n{last_words(text) or 'it printed nothing'}")


def _is_test(test: Any) -> bool:
    return isinstance(test, dict) and {"avg_ts", "n_gen", "backends"} <= test.keys()
