"""A model's tokens per second on this machine, by llama.cpp's own llama-bench."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from deployq import BackendError, Health, Measurement, Progress, proc
from deployq.tools import require_tool, tool_health

TOOL = "llama-bench"
TOKENS = 32
_TIMEOUT_SECONDS = 1800.0


@dataclass
class Bench:
    """A meter: generation at an empty context, a warm-up and three runs, mean and deviation."""

    name: str = TOOL
    unit: str = "tokens/s"

    def health(self) -> Health:
        return tool_health(TOOL)

    def measure(self, artifact: Path, text: Path, progress: Progress) -> Measurement:  # noqa: ARG002
        """Tokens per second of a GGUF; no text is read for it. `detail` is llama.cpp's backend.

        Raises:
            ToolMissing: there is no llama-bench here.
            BackendError: it failed, or said what can't be understood.
        """
        tool = require_tool(TOOL)
        progress(artifact.name, 0, None, "runs")
        counts = ("-p", "0", "-n", str(TOKENS), "-r", "3")
        answer = tool.run(("-m", artifact, *counts, "-o", "json"), timeout_seconds=_TIMEOUT_SECONDS)
        if answer.returncode:
            raise BackendError(proc.describe_failure(answer))
        progress(artifact.name, 3, 3, "runs")
        return parse_bench(answer.stdout)


def parse_bench(text: str) -> Measurement:
    """The one test of llama-bench's JSON, which stands after what the tool logs.

    Raises:
        BackendError: there is none.
    """
    start = text.find("\n[\n") + 1 if "\n[\n" in text else text.find("[")
    try:
        (test,), _ = json.JSONDecoder().raw_decode(text[start:])
        return Measurement(
            float(test["avg_ts"]), "tokens/s", float(test["stddev_ts"]), str(test["backends"])
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise BackendError(f"{TOOL} gave no figure: {text[-400:].strip() or 'nothing'}") from exc
