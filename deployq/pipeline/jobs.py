"""One tag on one server as it shall be: what is to do, and what the lockfile says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path

from deployq import __version__
from deployq.errors import DeployqError, EngineCrashed
from deployq.pipeline.naming import recorded_source
from deployq.pipeline.prepare import Prepared
from deployq.pipeline.render import Rendered
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.pipeline.wanted import Subject, Wanted
from deployq.proof.suites import Suite
from deployq.records import dataclass
from deployq.tags.damage import Damage
from deployq.tags.hold import Hold
from deployq.tags.lockfile import LockEntry, Lockfile, changes
from deployq.tags.names import TagName
from deployq.tags.records import TagRecord, find_tag
from deployq.types import Artifact, Score, StepResult, TagReport


@dataclass(frozen=True)
class Options:
    """How to push.

    `jobs` are prompts asked at a time. `locked`: only exactly what the lockfile says.
    `require_fit`: a loaded tag that takes more than planned fails. `require_parity`: one whose
    prompts differ from those of the model's own chat template fails. `verify_weights`: the weights
    of every unchanged tag are hashed, where the server's store is on this machine.
    """

    jobs: int = 1
    allow_requantize: bool = False
    locked: bool = False
    require_fit: bool = False
    require_parity: bool = False
    verify_weights: bool = False


@dataclass(frozen=True)
class Work:
    """What stays the same over one push; `tell` hears of every step that ends.

    `several`: there is more than one server, so progress says which. `hold` is of the model on the
    server that is being served.
    """

    session: Session
    prepared: Prepared
    options: Options
    suite: Suite
    source_digest: str
    lock: Lockfile
    run_dir: Path
    tell: Callable[[StepResult], None]
    several: bool = False
    hold: Hold | None = None

    @property
    def subject(self) -> Subject:
        prepared = self.prepared
        return Subject(prepared.model, prepared.info, self.suite, self.source_digest)


@dataclass(frozen=True)
class Job:
    """One tag on one server as it shall be; `why` it has to be pushed, empty if it need not.

    `notes` are further fields of its lock entry, which decide nothing. `damage` is what the server
    holds of it and can't serve.
    """

    site: Site
    wanted: Wanted
    why: tuple[str, ...]
    notes: Mapping[str, str] = field(default_factory=dict)
    damage: tuple[Damage, ...] = ()

    @property
    def rendered(self) -> Rendered:
        return self.wanted.rendered

    @property
    def suite(self) -> Suite:
        return self.wanted.suite

    @property
    def name(self) -> TagName:
        return self.rendered.tag

    @property
    def tag(self) -> str:
        return str(self.rendered.tag)

    @property
    def alias_of(self) -> str | None:
        of = self.wanted.fields["alias_of"]
        return str(of) if of else None


@dataclass(frozen=True)
class Built:
    """Artifacts by quant, and why those that are missing could not be made."""

    artifacts: Mapping[str, Artifact]
    failures: Mapping[str, DeployqError]


def make_job(work: Work, site: Site, wanted: Wanted, held: Sequence[TagRecord]) -> Job:
    """What a tag shall be on a server that holds these tags, and why that is to be done."""
    tag = wanted.rendered.tag
    entry, there = work.lock.find(str(tag), site.key), find_tag(held, tag)
    origin = work.prepared.origin
    named = {"source": origin.label, "base": origin.base_label} if origin else {}
    named["made_from"] = recorded_source(work.session, work.prepared.model)
    notes = {key: label for key, label in named.items() if label}
    return Job(site, wanted, changes(entry, wanted.fields, there.digest if there else None), notes)


# ---------------------------------------------------------------- reports


def unchanged_report(work: Work, job: Job) -> TagReport:
    """The report of a tag that is what it shall be, from the lockfile."""
    entry = work.lock.find(job.tag, job.site.key)
    assert entry is not None, "an unchanged tag has an entry"
    return TagReport(
        tag=job.tag,
        quant=entry.quant,
        status="unchanged",
        file_bytes=work.prepared.size_of(entry.quant).file_bytes,
        blob_digest=entry.blob_digest,
        modelfile_digest=entry.modelfile_digest,
        manifest_digest=entry.manifest_digest,
        n_ctx=entry.n_ctx,
        reason=f"is as it was pushed at {entry.pushed_at}",
        alias_of=entry.alias_of,
        earlier=Score(entry.passed, entry.total, True, entry.tokens_per_second),
    )


def failed_report(work: Work, job: Job, error: DeployqError) -> TagReport:
    """The report of a tag that could not be made; whatever had that name is as it was."""
    reason = error.message
    if isinstance(error, EngineCrashed):
        # without its name: what crashes with one tag crashes with the next, and is told once
        reason = f"llama-server {error.how} it"
    return TagReport(
        tag=job.tag,
        quant=job.rendered.quant,
        status="failed",
        file_bytes=work.prepared.size_of(job.rendered.quant).file_bytes,
        n_ctx=job.rendered.n_ctx,
        reason=reason,
        hint=error.hint,
        exit_code=error.exit_code,
        alias_of=job.alias_of,
    )


def quantize_step(artifact: Artifact) -> StepResult:
    """What making the artifact took."""
    if artifact.reused:
        return StepResult("quantize", "reused", 0.0, artifact.file_bytes, "made by an earlier run")
    by = f"{artifact.backend} {artifact.backend_version}"
    return StepResult("quantize", "done", artifact.seconds, artifact.file_bytes, by)


def _results(report: TagReport) -> dict[str, object]:
    """How a tag agrees with its baseline, where that was measured."""
    agreement = report.quality.agreement if report.quality else None
    if agreement is None:
        return {}
    return {
        "same_top": round(agreement.same_top.value, 4),
        "kl": round(agreement.kl.value, 5),
        "perplexity_ratio": round(agreement.perplexity_ratio.value, 4),
        "baseline_digest": agreement.baseline_digest,
    }


def lock_entry(job: Job, report: TagReport, artifact: Artifact) -> LockEntry:
    """What the lockfile says of a tag that was pushed."""
    score = report.score
    speed = score.tokens_per_second if score else None
    return LockEntry(
        tag=job.tag,
        host=job.site.key,
        **job.wanted.fields,  # type: ignore[arg-type]
        **job.notes,  # type: ignore[arg-type]
        **_results(report),  # type: ignore[arg-type]
        blob_digest=report.blob_digest,
        manifest_digest=report.manifest_digest,
        backend=artifact.backend,
        backend_version=artifact.backend_version,
        imatrix_digest=artifact.imatrix_digest or None,
        passed=score.passed if score else 0,
        total=score.total if score else 0,
        tokens_per_second=round(speed, 1) if speed else None,
        pushed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        deployq_version=__version__,
    )
