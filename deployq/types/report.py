"""What became of a push, and what servers hold."""

from __future__ import annotations

from pathlib import Path

from deployq.records import dataclass
from deployq.types.base import StepStatus
from deployq.types.parity import ParityReport
from deployq.types.plan import Plan
from deployq.types.quality import GateVerdict, Quality
from deployq.types.verification import Verification


@dataclass(frozen=True)
class StepResult:
    """One step of the way of one tag: quantize, upload, create, template, verify, fit, promote."""

    step: str
    status: StepStatus
    seconds: float = 0.0
    bytes: int = 0
    detail: str = ""


@dataclass(frozen=True)
class Score:
    """How a tag did in its suite; kept by the lockfile for tags that a push leaves alone."""

    passed: int
    total: int
    ok: bool
    tokens_per_second: float | None = None


@dataclass(frozen=True)
class TagReport:
    """What became of one tag (or alias) on one server.

    `earlier` is the score of an earlier push, where this one had nothing to do. `quality` is set
    where a gate asked for it.
    """

    tag: str
    quant: str
    status: StepStatus
    file_bytes: int
    blob_digest: str = ""
    modelfile_digest: str = ""
    n_ctx: int | None = None
    reason: str = ""
    hint: str = ""
    exit_code: int = 0
    steps: tuple[StepResult, ...] = ()
    verification: Verification | None = None
    parity: ParityReport | None = None
    alias_of: str | None = None
    earlier: Score | None = None

    @property
    def score(self) -> Score | None:
        """The score of this push, else that of an earlier one."""
        checked = self.verification
        if checked is None:
            return self.earlier
        total = len(checked.results)
        return Score(checked.passed, total, checked.ok, checked.tokens_per_second)

    manifest_digest: str = ""
    quality: Quality | None = None


@dataclass(frozen=True)
class TargetReport:
    """What became of one target.

    `gate` has the verdicts on its tags, those that gave way to a better one included; `planned`
    is what the plan had chosen where the gate took another.
    """

    target: str
    host: str
    runtime: str
    status: StepStatus
    chosen: str | None
    alias: TagReport | None
    tags: tuple[TagReport, ...]
    reason: str = ""
    hint: str = ""
    exit_code: int = 0
    planned: str | None = None
    gate: tuple[GateVerdict, ...] = ()


@dataclass(frozen=True)
class Report:
    """The outcome of one push."""

    model: str
    plan: Plan
    targets: tuple[TargetReport, ...]
    started: str
    seconds: float
    run_dir: Path | None = None

    @property
    def exit_code(self) -> int:
        """That of the first target that failed, in the order asked for."""
        return next((t.exit_code for t in self.targets if t.exit_code), 0)


@dataclass(frozen=True)
class HeldTag:
    """One tag as a server holds it, and what the lockfile knows of it.

    `made_here` says that the lockfile has it, `changed` that the server's is no longer the one
    that was pushed. `size_bytes` counts all layers, shared ones too.
    """

    tag: str
    host: str
    quant: str
    size_bytes: int
    manifest_digest: str
    modified: str = ""
    made_here: bool = False
    changed: bool = False
    alias_of: str | None = None
    n_ctx: int | None = None
    passed: int | None = None
    total: int | None = None
    tokens_per_second: float | None = None
    pushed_at: str | None = None
