"""Does a job in an interpreter of its own: JSON in, its events out, what it printed for a failure.

A plugin that needs PyTorch and its like brings a folder with a package `runner`: `runner/jobs.py`
says what it can (`foreign/jobside/entrance.py`), and nothing of it is imported here. The child runs
in a temporary folder and in a process group of its own, its standard input closed. Each event line
starts with the character "record separator" (RFC 7464), so that what libraries print in between
does no harm.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployq import proc
from deployq.errors import BackendError, SourceError
from deployq.types import Json

SEPARATOR = "\x1e"
_JOBSIDE = Path(__file__).parent / "foreign"
_START = "import sys; sys.path += sys.argv[1:3]; del sys.argv[1:3]; import jobside; jobside.run()"
_QUIET = {
    # a job reads files that are here; it never asks a network
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONUTF8": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_WAIT_POLICY": "passive",
}
_KEPT_LINES = 12


@dataclass
class Events:
    """What a runner said, in order; `talk` is what was printed besides."""

    on_event: Callable[[str, Mapping[str, Any]], None] | None = None
    seen: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    talk: list[str] = field(default_factory=list)

    def line(self, text: str) -> None:
        """One line of output: an event, or what a library printed."""
        before, mark, event = text.partition(SEPARATOR)
        if before.strip():
            self.talk.append(before)
        if mark:
            values = json.loads(event)
            name = values.pop("event")
            self.seen.append((name, values))
            if self.on_event is not None:
                self.on_event(name, values)

    def last(self, name: str) -> Mapping[str, Any] | None:
        """The last event of that name."""
        return next((values for seen, values in reversed(self.seen) if seen == name), None)


class Refused(SourceError):
    """The runner gave a reason; `check` names what of the source it did not like."""

    def __init__(self, message: str, check: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.check = check


def run_job(
    python: Path,
    runner: Path,
    job: Mapping[str, Json],
    on_event: Callable[[str, Mapping[str, Any]], None] | None = None,
    env: Mapping[str, str] | None = None,
    below: Path | None = None,
) -> Events:
    """Have a runner do one job, in a folder of its own that is gone afterwards.

    Args:
        python: the interpreter that runs it.
        runner: the folder that holds the package `runner`.
        job: `job` is its name, `source` what it is about; all else is the runner's own.
        on_event: called with each event as it comes.
        env: variables for the child, over those that keep it quiet and off the network.
        below: where that folder is made; default: where temporary files go.

    Raises:
        Refused: the source is at fault, and why.
        BackendError: anything else; its last words are in the message.
    """
    events = Events(on_event)
    with tempfile.TemporaryDirectory(prefix=".deployq-job-", dir=below) as folder:
        file = Path(folder) / "job.json"
        file.write_text(json.dumps(job), encoding="utf-8")
        argv: list[str | Path] = [python, "-c", _START, _JOBSIDE, runner, file]
        variables = {**_QUIET, **(env or {})}
        finished = proc.run(argv, on_line=events.line, cwd=Path(folder), env=variables, check=False)
    if refused := events.last("refused"):
        raise Refused(refused["message"], refused["check"], refused["hint"])
    if finished.returncode or events.last("done") is None:
        raise BackendError(_failure(python, job, events, finished))
    return events


def _failure(python: Path, job: Mapping[str, Json], events: Events, finished: proc.Finished) -> str:
    failed = events.last("failed")
    why = f"{failed['kind']}: {failed['message']}" if failed else ""
    said = "\n".join(line for line in events.talk[-_KEPT_LINES:] if line.strip())
    how = proc.describe_failure(proc.Finished(finished.argv, finished.returncode, "", why or said))
    return f"{job.get('job')} of {job.get('source')} with {python}: {how}"
