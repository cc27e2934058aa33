"""The calibrator `llama-imatrix`: which weights a text leans on, from full precision."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from deployq import BackendError, Health, MeterText, Progress, TextOptions, ToolMissing, proc
from deployq.llama_output import last_words
from deployq.tools import Tool, find_tool, require_tool, tool_health
from deployq_llamacpp.running import quiet_threads
from deployq_llamacpp.tokens import count_tokens, cut

TOOL = "llama-imatrix"
_CHUNK = r"\[(\d+)\]\d"


class LlamaCppCalibrator:
    """Writes the importance matrix as GGUF; no absolute path goes into it."""

    name = TOOL

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._env = env

    def health(self) -> Health:
        """Is there a llama-imatrix that writes GGUF and reads control tokens?"""
        tool = find_tool(TOOL, self._env)
        if tool is None:
            return tool_health(TOOL, self._env)
        if missing := [f for f in ("--output-format", "--parse-special") if not tool.has_flag(f)]:
            detail = f"{tool.path} does not know {missing[0]}: it is too old"
            return Health(False, path=tool.path, detail=detail, hint="deployq tools install")
        return tool.health()

    def calibrate(
        self, gguf: Path, text: MeterText, output: Path, options: TextOptions, progress: Progress
    ) -> None:
        """Write `output`, or raise and leave no file.

        Raises:
            ToolMissing, BackendError: the tool is not here, or failed.
            SourceError: the text is too short.
        """
        tool = self._require()
        n_ctx, chunks, _ = cut(count_tokens(gguf, text, self._env), text.path, options)
        # by names relative to the text's folder: both names go into the matrix, and on from it
        argv: list[str | Path] = ["-m", gguf.absolute(), "-f", text.path.name]
        argv += ["-o", output.absolute()]
        argv += [
            "--output-format",
            "gguf",
            "-c",
            str(n_ctx),
            "--chunks",
            str(chunks),
            "--no-escape",
        ]
        argv += ["--parse-special"] if text.special else []
        argv += ["-t", str(options.threads)] if options.threads else []
        finished = tool.run(
            argv,
            cwd=text.path.parent,
            env=quiet_threads(),
            on_line=_watch(chunks, progress),
        )
        if finished.returncode or not output.is_file():
            output.unlink(missing_ok=True)
            raise BackendError(
                f"no importance matrix could be made of {gguf.name}: {TOOL} "
                f"{proc.describe_exit(finished.returncode)}:\n{last_words(finished.stdout)}"
            )
        progress("imatrix", chunks, chunks, "chunks")

    def _require(self) -> Tool:
        health = self.health()
        if not health.ok:
            raise ToolMissing(health.detail, hint=health.hint)
        return require_tool(TOOL, self._env)


def _watch(chunks: int, progress: Progress) -> Callable[[str], None]:
    def on_line(line: str) -> None:
        if found := re.findall(_CHUNK, line):
            progress("imatrix", min(int(found[-1]), chunks - 1), chunks, "chunks")

    return on_line
